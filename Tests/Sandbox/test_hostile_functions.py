"""Functions that were taken over, in a real node with real control, router and gateway: locum-hostile stands in for
locum-zygote, so that workers of models named `bad-ATTACK` and `once-ATTACK` lie, hang, flood and die
(Tests/Probes/Hostile/Attack.swift). Whatever one does ends it alone. If only one instance was bad, the answer comes
through another one, the same as ever; if the function itself is bad, the request ends with a clear error. Other models
answer as before, the daemons are the same processes, and nothing stays behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daemon import BIN, NANO, Daemon, alive, wait_for  # noqa: E402
from table import record  # noqa: E402

PROMPT = "Once upon a time"
TOKENS = 4

# What it would be good for; "once": another instance takes over; "any": the answer may be wrong, but there is an end;
# "error": a clear error whatever happens.
EXPERTS = {
    "die-at-start": ("fail while it starts", "once"),
    "die-unready": ("fail before it serves", "once"),
    "fail-long": ("fill the log", "once"),
    "ready-twice": ("confuse node about its state", "once"),
    "ready-wrong": ("claim a shape that overflows", "error"),
    "close-all": ("live on unreachable", "once"),
    "die-at-link": ("leave its caller waiting", "once"),
    "die-linked": ("leave its caller waiting", "once"),
    "accepted-unasked": ("confuse node about its links", "once"),
    "node-garbage": ("break node's parser", "once"),
    "node-long": ("overrun node's buffer", "once"),
    "node-descriptors": ("plant descriptors in node", "once"),
    "node-flood": ("drown node", "once"),
    "node-acquire": ("call others' functions", "once"),
    "node-deploy": ("deploy a model", "once"),
    "node-reserve": ("take all memory from others", "once"),
    "claim-loaded": ("confuse node about its memory", "once"),
    "claim-dropped": ("confuse node about its memory", "once"),
    "claim-unreadable": ("have its shard taken for bad", "any"),
    "page-garbage": ("lie about its usage", "once"),
    "die-called": ("leave its caller waiting", "once"),
    "lane-closed": ("leave its caller waiting", "once"),
    "answer-other": ("answer for another call", "once"),
    "answer-short": ("have its caller read what is not there", "once"),
    "answer-long": ("overrun its caller's buffer", "once"),
    "answer-empty": ("pass for a closed lane", "once"),
    "answer-magic": ("break its caller's parser", "once"),
    "answer-version": ("break its caller's parser", "once"),
    "answer-status": ("break its caller's parser", "once"),
    "answer-count": ("have its caller read beyond the arena", "once"),
    "answer-twice": ("answer a call to come", "once"),
    "answer-early": ("answer before it is asked", "once"),
    "answer-descriptors": ("plant descriptors in its caller", "once"),
    "answer-flood": ("drown its caller", "once"),
    "answer-nan": ("crash its caller by numbers", "any"),
    "answer-draining": ("keep its caller coming back", "once"),
    "answer-unreadable": ("have its shard taken for bad", "once"),
    "heap-bomb": ("take all memory", "once"),
    "stack-bomb": ("overrun its stack", "once"),
    "trap": ("crash", "once"),
    "write-request": ("change its caller's rows", "once"),
    "map-request-writable": ("change its caller's rows", "once"),
    "fill-reply": ("take its whole arena", "once"),
    "read-beyond": ("read what lies behind its shard", "any"),
}
# Found by their silence, after 30 s; run together.
SILENT = {
    "never-answer": ("hang its caller", "once"),
    "cpu-hog": ("take a core for ever", "once"),
    "node-deaf": ("fill node's queue", "once"),
}
ROUTERS = {
    "router-acquire-beyond": ("call others' functions by number", "once"),
    "router-acquire-named": ("call others' functions by name", "once"),
    "router-deploy": ("deploy a model", "once"),
    "router-reserve-all": ("take all memory from others", "any"),
    "router-unreserve": ("make memory of nothing", "any"),
    "router-spare": ("confuse node about its memory", "any"),
    "router-prefetch": ("have others' shards read", "once"),
    "router-taken": ("confuse node about its links", "once"),
    "router-release-others": ("end others' links", "any"),
    "router-descriptors": ("plant descriptors in node", "once"),
    "router-flood": ("drown node", "any"),
    "router-die-called": ("leave its client waiting", "once"),
    "router-garbage": ("break control's parser", "once"),
    "router-others": ("answer others' requests", "once"),
    "router-parts": ("take all of control's memory", "once"),
    "router-endless": ("never end", "any"),
    "router-finish-twice": ("end others' sequences", "any"),
    "router-bad-text": ("break its client's parser", "any"),
    "router-bad-index": ("break control's count", "any"),
}
# These routers say nothing more to their caller: what counts is that the client may leave and all goes on.
MUTE = {"router-reserve-all", "router-unreserve", "router-spare", "router-release-others", "router-flood"}

USERS = [0, 65534] if os.geteuid() == 0 else [os.geteuid()]


def hostile_programs(folder: Path) -> Path:
    """The programs, with the hostile zygote in place of the real one."""
    folder.mkdir()
    for name in ("locum", "locum-node", "locum-control", "locum-import"):
        try:
            os.link(BIN / name, folder / name)
        except OSError:
            shutil.copy(BIN / name, folder / name)
    shutil.copy(BIN / "locum-hostile", folder / "locum-zygote")
    return folder


class Host:
    """A node with hostile functions, a well-behaved model and its reference answer."""

    def __init__(self, root: Path, user: int):
        root.chmod(0o755)
        data = root / "data"
        data.mkdir()
        if user != os.geteuid():
            os.chown(data, user, user)
        self.user = "root" if user == 0 else "an ordinary user"
        self.daemon = Daemon(
            data, "--idle-timeout", "60s", "--threads", "1", "--memory", "2G",
            user=user if user != os.geteuid() else None, bin=hostile_programs(root / "bin")).start()
        self.deploy("good")
        status, self.reference = self.daemon.ask(PROMPT, "good", TOKENS)
        assert status == 200
        self.daemons = self.lasting()

    def lasting(self) -> dict[str, int]:
        return {name: pid for name, pid in self.daemon.daemons().items() if name in ("locum-node", "locum-control")}

    def deploy(self, name: str) -> None:
        # One function per layer: an attack meets few instances.
        self.daemon.deploy(NANO / "qwen2moe", "--name", name, "--experts-per-function", "all")

    def check_others(self) -> None:
        assert self.daemon.ask(PROMPT, "good", TOKENS) == (200, self.reference), "another model does not answer as before"
        now = self.lasting()
        assert now == self.daemons, f"a daemon was lost: {self.daemons} before, {now} now"
        # A zygote may have made way for another one, but none may have died.
        assert not any("the zygote ended" in line for line in self.daemon.errors), self.daemon.errors[-10:]

    def attack(self, name: str, expected: str, timeout: float = 120) -> str:
        """Lets it happen once, then always; what became of it."""
        outcomes = []
        for kind in ("once", "bad"):
            model = f"{kind}-{name}"
            self.deploy(model)
            try:
                status, text = self.daemon.ask(PROMPT, model, TOKENS, timeout=3 if name in MUTE else timeout)
            except OSError as error:  # a client that has waited long enough leaves
                assert name in MUTE, f"{model}: no answer: {error}"
                status, text = 0, "no answer, its client left"
            if status == 200 and expected == "once":
                # A function that is bad is no worse than one that is not there, unless it is good after all.
                assert text == self.reference, f"{model}: another answer: {text!r}"
            elif status == 200:
                assert expected == "any", f"{model} answered {text!r}"
            else:
                assert kind == "bad" or expected != "once", f"{model}: {status} {text}"
                assert status == 0 or len(text) > 20, f"{model}: an unclear error: {status} {text!r}"
            if status == 200:
                outcomes.append("another instance answered" if expected == "once" else "an end")
            else:
                outcomes.append(text if status == 0 else f"{status} {text[:60]}")
            self.daemon.run("rm", model)
        return "; then ".join(outcomes)


@pytest.fixture(scope="module", params=USERS, ids=lambda user: "root" if user == 0 else "user")
def host(request):
    # Not below pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="locum-hostile-") as folder:
        host = Host(Path(folder), request.param)
        with host.daemon:
            yield host


def run(host: Host, name: str, gain: str, expected: str) -> None:
    try:
        outcome = host.attack(name, expected)
        host.check_others()
    except BaseException as error:
        record(False, host.user, name, gain, str(error).splitlines()[0][:100])
        raise
    record(True, host.user, name, gain, outcome)


@pytest.mark.parametrize("name", EXPERTS)
def test_expert(host, name):
    run(host, name, *EXPERTS[name])


@pytest.mark.parametrize("name", ROUTERS)
def test_router(host, name):
    run(host, name, *ROUTERS[name])


def test_a_function_that_never_works_is_seen_to_crash(host):
    """Its next start waits, and people see why."""
    host.deploy("bad-die-at-start")
    for _ in range(3):
        status, _ = host.daemon.ask(PROMPT, "bad-die-at-start", TOKENS, timeout=120)
        assert status == 503
    told = host.daemon.json("describe", "bad-die-at-start")
    states = {function["state"] for function in told["functions"] if function["runtime"] == "expert"}
    assert "crashing" in states, states
    host.daemon.run("rm", "bad-die-at-start")
    host.check_others()


def test_silent_experts(host):
    with ThreadPoolExecutor(len(SILENT)) as pool:
        results = {name: pool.submit(host.attack, name, how) for name, (_, how) in SILENT.items()}
        # Meanwhile others are served.
        for _ in range(5):
            host.check_others()
            time.sleep(1)
    for name, (gain, _) in SILENT.items():
        error = results[name].exception()
        record(error is None, host.user, name, gain, str(error or results[name].result())[:100])
    for result in results.values():
        result.result()


def test_nothing_is_left(host):
    """After all that: memory and processes of the bad ones are gone, node's descriptors are few."""
    host.check_others()
    functions = {instance["function"].split("/")[0] for instance in host.daemon.ps()}
    assert functions <= {"good"}, functions
    wait_for(
        lambda: len([pid for pid in host.daemon.workers() if alive(pid)]) == len(host.daemon.ps()), 5,
        "only the good model's workers")
    descriptors = len(list(Path(f"/proc/{host.daemons['locum-node']}/fd").iterdir()))
    assert descriptors < 100, f"node holds {descriptors} descriptors"
