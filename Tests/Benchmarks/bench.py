"""`make bench`: the promised figures, measured on this machine with real processes. Prints a table and writes
OUT/bench.json; each figure beside its limit. Medians of several runs, ratios within one run.

llama.cpp is measured too when `pip install llama-cpp-python` has been done in the same environment
(`.venv/bin/pip install llama-cpp-python gguf`); otherwise that row says so.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from daemon import BIN, TALES, Daemon, children, name_of, wait_for  # noqa: E402
from make_model import make  # noqa: E402

rows: list[dict] = []
PROMPT = "Once upon a time there was a king who"


def note(name: str, value: float | str, unit: str, limit: float | None = None, **more):
    held = None if limit is None or isinstance(value, str) else value <= limit
    rows.append({"name": name, "value": value, "unit": unit, "limit": limit, "held": held, **more})
    shown = value if isinstance(value, str) else f"{value:,.2f}"
    mark = {None: "", True: "  ok", False: "  MISSED"}[held]
    print(f"{name:<58} {shown:>12} {unit:<10}{'' if limit is None else f'limit {limit:g}'}{mark}", flush=True)


def bench(daemon: Daemon, *arguments: str) -> dict:
    done = subprocess.run(
        [str(BIN / "locum-bench"), *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "LOCUM_DATA": str(daemon.data)}, check=True)
    return json.loads(done.stdout)


class Holding:
    """Functions acquired and called once by locum-bench, alive while this is."""

    def __init__(self, daemon: Daemon, names: list[str]):
        self.process = subprocess.Popen(
            [str(BIN / "locum-bench"), "hold", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "LOCUM_DATA": str(daemon.data)})
        self.process.stdin.write(" ".join(names) + "\n")
        self.process.stdin.flush()
        self.result = json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self.result

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def experts_of(daemon: Daemon, model: str) -> list[str]:
    return [f["name"] for f in daemon.json("describe", model)["functions"] if f["runtime"] == "expert"]


def pss(pids: list[int]) -> int:
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def cpu_seconds(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def drop(path: Path):
    """Out of the page cache; nothing may have it mapped."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def stall(seconds: float) -> float:
    """The longest that this process did not run while it spun for so long, in ms: what the machine does to anyone."""
    longest, last = 0.0, time.perf_counter()
    end = last + seconds
    while last < end:
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest * 1000


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def cold_starts(daemon: Daemon):
    """One expert at a time, with a hundred others alive. The end of a process drops its shard's pages, so they are
    read right before each start that is to find them."""
    shards = {
        f["name"]: daemon.shard(f)
        for f in daemon.json("describe", "tales")["functions"] if f["runtime"] == "expert"}
    names = list(shards)
    kept, cold = names[:100], names[100:150]
    times: dict[str, list[float]] = {"warm": [], "cold": []}
    stalls = []
    with Holding(daemon, kept):
        for _ in range(4):
            for pages, into in times.items():
                for name in cold:
                    # Ends the instance of the round before; there is none in the first.
                    daemon.run("evict", name)
                for name in cold:
                    if pages == "warm":
                        shards[name].read_bytes()
                    else:
                        drop(shards[name])
                    with Holding(daemon, [name]) as result:
                        into.append((result["acquire_us"] + result["first_call"]["min_us"]) / 1000)
                    stalls.append(stall(0.003))
        alive = len(daemon.ps())
    for pages, limits in (("warm", (3, 15)), ("cold", (None, None))):
        row = f"cold start of an expert, pages {pages}"
        note(f"{row}: p50", statistics.median(times[pages]), "ms", limits[0], alive=alive, runs=len(times[pages]))
        note(f"{row}: p99", percentile(times[pages], 0.99), "ms", limits[1])
    note("the same 3 ms spent spinning: p99 of stalls", percentile(stalls, 0.99), "ms", runs=len(stalls))


def warm_calls(daemon: Daemon):
    name = experts_of(daemon, "tiny")[0]
    runs = [bench(daemon, "call", name) for _ in range(3)]
    ratio = statistics.median(run["call"]["p50_us"] / run["bare"]["p50_us"] for run in runs)
    note("warm call of a nearly empty expert", statistics.median(r["call"]["p50_us"] for r in runs), "us")
    note("bare seqpacket round trip on one core", statistics.median(r["bare"]["p50_us"] for r in runs), "us")
    note("warm call / bare round trip", ratio, "x", 2)


def many(daemon: Daemon):
    names = experts_of(daemon, "wide")
    begin = time.perf_counter()
    with Holding(daemon, names) as result:
        note("expert functions alive at once, two lanes each", len([r for r in daemon.ps() if r["model"] == "wide"]), "")
        note("  acquired and called in", time.perf_counter() - begin, "s")
        sizes = [r["private_bytes"] for r in daemon.ps() if r["model"] == "wide"]
        note("private memory of an idle expert worker (median)", statistics.median(sizes) / 1024, "KiB", 128)
        assert result["functions"] == 1440
    daemon.run("evict", "--all")


def idle(daemon: Daemon):
    wait_for(lambda: daemon.ps() == [], 20, "no workers")
    # Memory is given back a second after the last question.
    time.sleep(3)
    pids = [daemon.process.pid, *children(daemon.process.pid)]
    assert all(name_of(pid).startswith("locum") for pid in pids), [name_of(pid) for pid in pids]
    note("idle: PSS of all daemons", pss(pids) / 2**20, "MiB", 60, each={name_of(p): pss([p]) // 1024 for p in pids})
    before = cpu_seconds(pids)
    time.sleep(60)
    note("idle: CPU time in 60 s", cpu_seconds(pids) - before, "s", 0.1)


def decode(daemon: Daemon) -> dict[str, float]:
    """Tokens after the first: the time of 401 less the time of 1, in turns, so that both see the same machine."""
    rates: dict[str, list[float]] = {"tales": [], "tales-all": []}
    for _ in range(9):
        for model, into in rates.items():
            daemon.answer_seconds(model, PROMPT, 401)
            into.append(400 / (daemon.answer_seconds(model, PROMPT, 401) - daemon.answer_seconds(model, PROMPT, 1)))
    for model, name in (("tales", "1 expert per function"), ("tales-all", "a layer's experts in one")):
        values = sorted(rates[model])
        note(f"decode tales-moe Q8_0, 2 threads, {name}", statistics.median(values), "tokens/s", spread=[values[0], values[-1]])
    ratio = statistics.median(one / all for one, all in zip(rates["tales"], rates["tales-all"], strict=True))
    note("  one process per expert / a layer's experts in one", ratio, "x")
    return {model: statistics.median(values) for model, values in rates.items()}


def llama(folder: Path, ours: dict[str, float]):
    try:
        from llama_cpp import Llama
    except ImportError:
        note("decode tales-moe Q8_0, llama.cpp", "not installed", "")
        return
    from to_gguf import convert

    path = folder / "tales.gguf"
    convert(TALES, path)
    model = Llama(str(path), n_threads=2, n_threads_batch=2, n_ctx=512, verbose=False)
    rates = []
    for _ in range(7):
        model.reset()
        ids = model.tokenize(PROMPT.encode(), add_bos=False)
        begin, n = 0.0, 0
        for _ in model.generate(ids, temp=0.0):
            n += 1
            if n == 1:
                begin = time.perf_counter()
            if n == 400:
                break
        rates.append((n - 1) / (time.perf_counter() - begin))
    note("decode tales-moe Q8_0, llama.cpp (llama-cpp-python)", statistics.median(rates), "tokens/s", spread=[min(rates), max(rates)])
    note("  Locum, one process per expert / llama.cpp", ours["tales"] / statistics.median(rates), "x")


def main():
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="locum-bench-") as temporary:
        folder = Path(temporary)
        make(folder / "tiny", 1, 8, 16, 16)
        make(folder / "wide", 24, 60, 64, 32)
        with Daemon(folder / "data", "--idle-timeout", "600s", "--threads", "2") as daemon:
            daemon.deploy(TALES, "--name", "tales", "--quantize", "q8_0")
            daemon.deploy(TALES, "--name", "tales-all", "--quantize", "q8_0", "--experts-per-function", "all")
            daemon.deploy(folder / "tiny", "--name", "tiny")
            daemon.deploy(folder / "wide", "--name", "wide")
            cold_starts(daemon)
            warm_calls(daemon)
            ours = decode(daemon)
            many(daemon)
            idle(daemon)
        llama(folder, ours)
    out.mkdir(parents=True, exist_ok=True)
    facts = {"machine": platform.processor() or platform.machine(), "kernel": platform.release(), "cpus": os.cpu_count()}
    (out / "bench.json").write_text(json.dumps({"host": facts, "figures": rows}, indent=1))
    missed = [row["name"] for row in rows if row["held"] is False]
    print(f"written to {out / 'bench.json'}; " + (f"missed: {missed}" if missed else "all limits held"))


if __name__ == "__main__":
    main()
