"""Attempts of one tenant at what is another's, for tests: each is a row of a table at the end of the run. `ada` has two
models, `eve` one of them and bad intentions."""

from __future__ import annotations

import random

import pytest
from daemon import FIGURES, NANO, TALES, Daemon
from wire import Answer

#: Another's model and one that is not there, with names of one length.
HIDDEN, ABSENT = "tales-moe", "tales-mow"
ROWS: list[tuple[str, str, str, bool]] = []


def tried(attempt: str, how: str, answered: str, held: bool):
    """A row of the table. `held`: nothing was gained."""
    ROWS.append((attempt, how, answered, held))
    assert held, f"{attempt} ({how}): {answered}"


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """A daemon with two models, and a key of each of the two tenants; then the table of what was tried."""
    ROWS.clear()
    with Daemon(tmp_path_factory.mktemp("isolation") / "data", "--idle-timeout", "300s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", HIDDEN)
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        yield daemon, {"ada": tenant(daemon, "ada"), "eve": tenant(daemon, "eve", "--model", "nano")}
    widths = [max(len(row[column]) for row in ROWS) for column in range(2)]
    gained = sum(not held for *_, held in ROWS)
    FIGURES.append(f"{len(ROWS)} attempts with one tenant's key at what is another's: {gained} succeeded")
    for attempt, how, answered, held in ROWS:
        FIGURES.append(f"  {attempt:{widths[0]}}  {how:{widths[1]}}  {answered}{'' if held else '  SUCCEEDED'}")


def tenant(daemon: Daemon, name: str, *options: str) -> str:
    """Makes a tenant; answers a key of it."""
    daemon.run("tenant", "create", name, *options)
    return daemon.run("key", "create", name).strip()


def spec(model: str, chat: bool = False, **more) -> dict:
    """A request's body."""
    what = {"messages": [{"role": "user", "content": "hi"}]} if chat else {"prompt": [5, 6, 7]}
    return {"model": model, **what, "max_tokens": 2, "temperature": 0, "ignore_eos": True, **more}


def prompt(seed: int, count: int = 480) -> list[int]:
    return random.Random(seed).choices(range(5, 500), k=count)


def status(answers: list[Answer]) -> str:
    return ", ".join(str(answer.status) for answer in answers) or "closed"
