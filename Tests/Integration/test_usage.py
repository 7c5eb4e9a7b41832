"""What is metered: tokens, CPU time, memory and cold starts, against what the kernel accounts to the workers."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from daemon import NANO, TALES, Daemon, Failed, figure, wait_for

OPTIONS = ("--idle-timeout", "60s", "--threads", "2")
COLUMNS = ["tenant", "model", "key", "requests", "prompt_tokens", "cached_tokens", "output_tokens", "expert_ms",
           "mb_seconds", "cold_starts"]


@pytest.fixture
def box(tmp_path):
    with Daemon(tmp_path / "data", *OPTIONS) as daemon:
        daemon.deploy(TALES, "--name", "tales-moe")
        for name in ("ada", "bob"):
            daemon.run("tenant", "create", name)
        yield daemon, {name: daemon.run("key", "create", name).strip() for name in ("ada", "bob")}


def ask(daemon: Daemon, key: str, tokens: int, prompt="Once upon a time", **more):
    api = openai.OpenAI(base_url=daemon.url + "/v1", api_key=key, max_retries=0)
    return api.completions.create(
        model="tales-moe", prompt=prompt, max_tokens=tokens, temperature=0, extra_body={"ignore_eos": True}, **more)


def cpu_milliseconds(pids: list[int]) -> float:
    """What the kernel says that processes have computed, all of their threads."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e6


def pss_megabytes(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(("Pss:", "SwapPss:")))
    return total * 1024 / 1e6


def test_the_sums_are_what_the_kernel_accounts_to_the_workers(box):
    daemon, keys = box
    area, stop = 0.0, threading.Event()

    def sample():
        nonlocal area
        before, held = time.monotonic(), 0.0
        while not stop.wait(0.25):
            now = pss_megabytes(daemon.workers())
            at = time.monotonic()
            area += (held + now) / 2 * (at - before)
            before, held = at, now

    sampler = threading.Thread(target=sample)
    sampler.start()
    spent = {"ada": 0, "bob": 0}
    with ThreadPoolExecutor(3) as pool:
        # Side by side, so that batches hold rows of both.
        for name, answer in pool.map(
                lambda name: (name, ask(daemon, keys[name], 400)), ["ada", "bob", "ada"] * 4):
            spent[name] += answer.usage.completion_tokens
    time.sleep(3)
    experts = [row["pid"] for row in daemon.ps() if row["runtime"] == "expert"]
    kernel = cpu_milliseconds(experts)
    stop.set()
    sampler.join()
    rows = daemon.json("usage")
    assert [list(row) for row in rows] == [sorted(COLUMNS)] * 2
    by_tenant = {row["tenant"]: row for row in rows}
    assert {name: row["output_tokens"] for name, row in by_tenant.items()} == spent
    assert {name: row["requests"] for name, row in by_tenant.items()} == {"ada": 8, "bob": 4}
    assert by_tenant["bob"]["prompt_tokens"] == by_tenant["ada"]["prompt_tokens"] / 2
    assert all(keys[name].startswith(row["key"]) and row["key"] for name, row in by_tenant.items())
    # Each start is paid by one; nobody pays for those that a guess had started before they were called.
    assert 0.9 * len(daemon.ps()) <= sum(row["cold_starts"] for row in rows) <= len(daemon.ps())
    metered = sum(row["expert_ms"] for row in rows)
    held = sum(row["mb_seconds"] for row in rows)
    figure(f"metered {metered:.0f} ms of experts' CPU time, the kernel's account {kernel:.0f} ms: {metered / kernel:.3f}; "
           f"memory {held:.0f} MB·s, sampled PSS {area:.0f} MB·s: {held / area:.3f}; ada's part of the CPU time "
           f"{by_tenant['ada']['expert_ms'] / metered:.2f} (of the rows 0.67)")
    assert abs(metered / kernel - 1) <= 0.05
    assert abs(held / area - 1) <= 0.05
    assert 0.57 <= by_tenant["ada"]["expert_ms"] / metered <= 0.77


def test_a_crash_of_control_loses_less_than_a_second_and_counts_nothing_twice(box):
    daemon, keys = box
    said, stop = 0, threading.Event()

    def stream():
        nonlocal said
        while not stop.is_set():
            try:
                answer = ask(daemon, keys["ada"], 300, stream=True)
                for chunk in answer:
                    said += bool(chunk.choices and chunk.choices[0].text is not None)
            except (openai.APIError, openai.APIConnectionError, OSError):
                time.sleep(0.05)

    reader = threading.Thread(target=stream)
    reader.start()
    rates = []
    for _ in range(4):
        begin, count = time.monotonic(), said
        wait_for(lambda: said > count + 300 and time.monotonic() > begin + 1.5, 60, "some answers")
        rates.append((said - count) / (time.monotonic() - begin))
        os.kill(daemon.daemons()["locum-control"], 9)
        wait_for(lambda: "locum-control" in daemon.daemons(), 20, "control again")
    count = said
    wait_for(lambda: said > count + 300, 60, "an answer")
    stop.set()
    reader.join()
    time.sleep(1.1)
    counted = sum(row["output_tokens"] for row in daemon.json("usage"))
    # What was written down and did not reach the client any more counts, too: of each crash some steps at most.
    lost = said - counted
    figure(f"4 crashes of control: {said} tokens seen, {counted} counted, {max(rates):.0f} a second")
    assert lost <= 4 * max(rates) * 1.0
    assert counted <= said + 4 * max(rates) * 0.25


def test_usage_for_people_and_programs(box):
    daemon, keys = box
    assert daemon.json("usage") == []
    ask(daemon, keys["ada"], 5)
    time.sleep(1.2)
    [row] = daemon.json("usage", "--tenant", "ada")
    assert row["output_tokens"] == 5 and daemon.json("usage", "--tenant", "bob") == []
    lines = daemon.run("usage", "--csv").splitlines()
    assert lines[0] == ",".join(COLUMNS) and lines[1].startswith(f"ada,tales-moe,{row['key']},1,{row['prompt_tokens']},0,5,")
    assert daemon.run("usage").splitlines()[1].split()[:2] == ["ada", "tales-moe"]
    assert len(daemon.json("usage", "--from", "2026-01-01", "--to", "2100-01-01T00:00Z")) == 1
    assert daemon.json("usage", "--to", "2026-01-01") == [] and daemon.json("usage", "--from", "2100-01-01T05") == []
    for wrong in (["--from", "yesterday"], ["--to", "2026-02-30"], ["--json", "--csv"]):
        with pytest.raises(Failed) as error:
            daemon.run("usage", *wrong)
        assert error.value.code == 64
    status, answer = daemon.admin("GET", "/admin/usage?from=soon")
    assert status == 400 and "from" in json.dumps(answer)
    # What a tenant has used stays when it is gone.
    daemon.run("tenant", "rm", "ada")
    assert [row["tenant"] for row in daemon.json("usage")] == ["ada"]


def test_a_damaged_record_of_use_keeps_nothing_from_being_served(tmp_path):
    data = tmp_path / "data"
    with Daemon(data, *OPTIONS) as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "tales", "--kv-type", "f32")
        daemon.ask("a")
    (data / "usage.sqlite").write_bytes(b"this is no database" * 500)
    with Daemon(data, *OPTIONS) as daemon:
        assert daemon.ask("a")[0] == 200
        time.sleep(1.2)
        assert daemon.json("usage")[0]["requests"] == 1
        assert any("record of use was damaged" in line for line in daemon.errors)
    assert len(list(data.glob("usage.sqlite.damaged-1"))) == 1
