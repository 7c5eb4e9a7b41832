"""One measured run of Locum or of llama.cpp: started in a group of its own, cold, asked, ended. And a deployed model with
what is known of it: its sizes, recordings of its requests, its speed with everything in memory.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from daemon import BIN, Daemon, Failed
from memory_ballast import Ballast
from memory_disk import make_cold
from memory_group import Group

# What every preset's model was made for.
CONTEXT = 512
THREADS = 2
# The longest wait for one token. A run that waits longer has failed.
PATIENCE = 60
# Ids that every preset has.
VOCABULARY = range(500, 4000)
# What a run may use beside its memory: this program, the host's own work, the page cache of programs.
HOST = 1 << 30
# Seeds of requests that go first, so that a model has run for a while when it is measured.
WARMUP = 1000
numbers = count()
ballast = Ballast()


@dataclass
class Run:
    """Tokens per second from the first token on; 0: it failed."""

    rate: float = 0.0
    first: float = 0.0
    """Seconds to the first token, from the request on."""
    bytes_read: int = 0
    """From disk: of a cold run since the program's start, of a warm one since the warm-up."""
    stolen: float = 0.0
    """What the host took away meanwhile, as a share of one core."""
    tokens: int = 0
    peak: int = 0
    failure: str = ""

    def timed(self, times: list[float], tokens: int) -> "Run":
        self.first, self.tokens = times[0], tokens
        self.rate = (tokens - 1) / (times[-1] - times[0])
        return self


class Clock:
    """Time and what the host stole of it."""

    def __init__(self):
        self._begin, self._stolen = time.monotonic(), self._ticks()

    def _ticks(self) -> int:
        return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8])

    def stolen(self) -> float:
        ticks = (self._ticks() - self._stolen) / os.sysconf("SC_CLK_TCK")
        return ticks / max(1e-9, time.monotonic() - self._begin)


def prompt(seed: int) -> list[int]:
    return random.Random(seed).choices(VOCABULARY, k=4)


def request(url: str, tokens: int, seed: int) -> list[float]:
    """The times at which tokens came, in seconds from the request on."""
    body = {
        "model": "m", "prompt": prompt(seed), "max_tokens": tokens, "temperature": 1, "seed": seed,
        "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True},
    }
    ask = urllib.request.Request(
        url + "/v1/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    begin, times, made = time.perf_counter(), [], 0
    with urllib.request.urlopen(ask, timeout=PATIENCE) as answer:
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            part = json.loads(line[6:])
            if "error" in part:
                raise RuntimeError(part["error"].get("message", "error"))
            if part.get("usage"):
                made = part["usage"]["completion_tokens"]
            elif part["choices"]:
                times.append(time.perf_counter() - begin)
    if made != tokens:
        raise RuntimeError(f"{made} tokens instead of {tokens}")
    return times


def start(daemon: Daemon, group: Group | None) -> Daemon:
    if group is None:
        return daemon.start()
    with group.entered():
        return daemon.start()


def locum_run(
    store: "Store", tokens: int, seeds: list[int], limit: int | None = None, budget: int | None = None,
    prediction: str | None = None, warm: bool = False,
) -> Run:
    """`limit`: of the group, from which Locum takes its budget; `budget`: told by --memory. `warm`: each seed's warm-up
    goes first. The rate is of all seeds' requests together."""
    group = Group(f"locum-bench-{os.getpid()}-{next(numbers)}", limit)
    options = ["--threads", str(THREADS), "--idle-timeout", "600s"]
    options += ["--memory", str(budget)] if budget else []
    options += ["--prediction", prediction] if prediction else []
    make_cold([store.data / "shards", store.gguf])
    ballast.leave((limit or budget) + HOST)
    run, before = Run(), 0
    daemon = start(Daemon(store.data, *options), group)
    try:
        if warm:
            for seed in seeds:
                request(daemon.url, tokens, seed + WARMUP)
            before = group.bytes_read()
        clock, spans = Clock(), []
        for seed in seeds:
            times = request(daemon.url, tokens, seed)
            run.timed(times, tokens)
            spans.append(times[-1] - times[0])
        run.rate, run.tokens = (tokens - 1) * len(seeds) / sum(spans), tokens * len(seeds)
        run.stolen = clock.stolen()
    except (OSError, RuntimeError, IndexError, ZeroDivisionError) as error:
        run = Run(failure=f"{type(error).__name__}: {error}")
    finally:
        run.bytes_read, run.peak = group.bytes_read() - before, group.peak()
        try:
            daemon.stop()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            daemon.kill()
            run.failure = run.failure or f"end: {error}"
        group.remove()
    return run


def llama_run(gguf: Path, tokens: int, seed: int, limit: int, seconds: int) -> Run:
    """Stops after so many seconds with the tokens there are by then."""
    group = Group(f"llama-bench-{os.getpid()}-{next(numbers)}", limit)
    make_cold([gguf])
    ballast.leave(limit + HOST)
    ids = ",".join(map(str, prompt(seed)))
    command = [
        sys.executable, str(Path(__file__).with_name("memory_llama.py")), str(gguf), str(tokens), str(seed),
        str(THREADS), str(CONTEXT), str(seconds), ids,
    ]
    run = Run()
    with group.entered():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = process.communicate(timeout=20 * PATIENCE)
        if process.returncode:
            run.failure = f"llama.cpp ended with {process.returncode}: {err.strip().splitlines()[-1:]}"
        else:
            times = json.loads(out.splitlines()[-1])["times"]
            run.timed(times, len(times))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        run.failure = f"llama.cpp made less than {tokens} tokens in {20 * PATIENCE} s"
    finally:
        run.bytes_read, run.peak = group.bytes_read(), group.peak()
        group.remove()
    return run


class Store:
    """A model deployed in a data folder."""

    def __init__(self, data: Path, gguf: Path, name: str):
        self.data, self.gguf, self.name = data, gguf, name
        self.traces: list[Path] = []
        self.full_rate, self.warmup = 0.0, 0
        self.fixed_bytes = 0
        self.all_expert_bytes = 0
        self.expert_bytes = 0

    def __enter__(self) -> "Store":
        with Daemon(self.data) as daemon:
            daemon.deploy(self.gguf, "--name", "m", "--context", str(CONTEXT))
            functions = [f for f in daemon.json("describe", "m")["functions"] if f["runtime"] == "expert"]
        sizes = [bytes_of(f) for f in functions]
        self.all_expert_bytes, self.expert_bytes = sum(sizes), sizes[0]
        return self

    def __exit__(self, *_):
        subprocess.run(["rm", "-rf", str(self.data)], check=False)

    def record(self, tokens: int, requests: int):
        """Records the same requests that are measured, each after its warm-up, and the speed with all experts in
        memory: each request once to bring them in, then once for its time."""
        ballast.leave(2 * self.all_expert_bytes + HOST)
        with Daemon(self.data, "--threads", str(THREADS), "--idle-timeout", "600s") as daemon:
            rates = []
            for seed in range(requests):
                self._record(daemon, tokens, seed)
                rates.append(Run().timed(request(daemon.url, tokens, seed), tokens).rate)
        self.full_rate, self.warmup = statistics.median(rates), tokens - 1
        if self.traces:
            told = self.replay(self.traces[0], "lru", 1 << 40)
            self.fixed_bytes = told["memory_bytes"] - told["shard_bytes"]

    def _record(self, daemon: Daemon, tokens: int, seed: int):
        # The first token comes of the prompt's last row: one row less is generated than tokens are.
        out = self.data.parent / f"{self.name}-{seed}.trace"
        request(daemon.url, 8, seed)
        recorder = subprocess.Popen(
            [str(BIN / "locum"), "trace", "record", "m", "--out", str(out), "--tokens", str(2 * (tokens - 1))],
            env={**os.environ, "LOCUM_DATA": str(self.data)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True)
        time.sleep(1)
        request(daemon.url, tokens, seed + WARMUP)
        request(daemon.url, tokens, seed)
        try:
            said, _ = recorder.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            recorder.terminate()
            said, _ = recorder.communicate(timeout=10)
        if recorder.returncode == 0 and out.exists():
            self.traces.append(out)
        else:
            print(f"no recording: {said.strip()}", file=sys.stderr)

    def plan(self, budget: int) -> float:
        """Tokens per second that `locum plan` expects of the first recording's requests, its second half: the warm-up
        is its first."""
        with Daemon(self.data, "--threads", str(THREADS)) as daemon:
            told = daemon.json(
                "plan", str(self.gguf), "--memory", str(budget), "--context", str(CONTEXT),
                *(["--trace", str(self.traces[0])] if self.traces else []))
        return told["tokens_per_second"]

    def replay(self, trace: Path, policy: str, budget: int, disk: float = 1e9) -> dict:
        done = subprocess.run(
            [str(BIN / "locum"), "trace", "replay", str(trace), "--policy", policy, "--memory", str(budget),
             "--disk", str(int(disk)), "--warmup", str(self.warmup), "--json"], capture_output=True, text=True)
        if done.returncode:
            raise Failed(done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout)


def bytes_of(function: dict) -> int:
    return next(int(function[key]) for key in ("shard_bytes", "bytes", "size_bytes") if key in function)
