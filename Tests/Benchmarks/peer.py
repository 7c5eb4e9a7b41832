"""`make bench-peer`: Locum, a sandboxed process per expert, beside llama.cpp on the same files and the same two cores. Prints
a table in Markdown for BENCHMARKS.md; writes OUT/peer.json, OUT/peer.svg, OUT/isolation.json and OUT/roofline.json.

    LOCUM_BIN=bin build/peer/bin/python Tests/Benchmarks/peer.py OUT [--full] [--only TEXT] [--rounds N]

Both are warm and in memory, and are asked in turns, so that each round sees the same machine; a ratio is of one round, and
what is printed is the median of rounds with the least and the most. Locum is asked through HTTP, llama.cpp through its
C functions. Prompts are random ids, so that nothing comes from a cache of prompts. --full adds the whole shape of
Qwen1.5-MoE-A2.7B (8.2 and 15.2 GB), where only one of the two is alive at a time: its ratios are of blocks a minute apart.

first-token: from no worker (and warm pages) to the first token of a prompt of 64, against loading the model with warm pages
and the same prompt, without the start of llama.cpp's Python.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from daemon import BIN, TALES, Daemon, children, wait_for  # noqa: E402
from bench import drop, pss  # noqa: E402
from peer_plot import plot  # noqa: E402
from roofline import Readers, bytes_per_token  # noqa: E402

THREADS, CONTEXT, SEQUENCES = 2, 1024, 4
# Tokens of a prompt before a decode, of one from zero, and of one to be measured by itself.
PROMPT, SHORT, LONG = 16, 64, 512
OPTIONS = ("--threads", str(THREADS), "--idle-timeout", "3600s")
chance = random.Random(1)


class Case:
    def __init__(self, name: str, preset: str | None, quantise: str, layers: int | None = None):
        self.name, self.preset, self.quantise, self.layers = name, preset, quantise, layers
        # The embedded model is so small that a token takes less than a millisecond; it is also tried with a layer's experts
        # in one function.
        self.tokens, self.grouped = (48, False) if preset else (400, True)

    def make(self, folder: Path) -> Path:
        path = folder / f"{self.name}.gguf"
        if self.preset is None:
            from to_gguf import convert

            convert(TALES, path)
        else:
            layers = ["--layers", str(self.layers)] if self.layers else []
            subprocess.run(
                [BIN / "locum-testmodel", path, "--preset", self.preset, *layers, "--quantize", self.quantise,
                 "--context", str(CONTEXT)], check=True, stdout=subprocess.DEVNULL)
        return path


QUICK = [
    Case("tales-q8_0", None, "Q8_0"),
    Case("m6-q4_0", "qwen1.5-moe-a2.7b", "Q4_0", 6),
    Case("m6-q8_0", "qwen1.5-moe-a2.7b", "Q8_0", 6),
    Case("m6-q4_k_m", "qwen1.5-moe-a2.7b", "Q4_K_M", 6),
]
FULL = [Case("m24-q4_0", "qwen1.5-moe-a2.7b", "Q4_0"), Case("m24-q8_0", "qwen1.5-moe-a2.7b", "Q8_0")]


class Side:
    """One of the two with a model."""

    context: int
    words: int
    tokens: int

    def prompt(self, count: int) -> list[int]:
        return [chance.randrange(260, self.words - 260) for _ in range(count)]

    def round(self, memory: Readers | None) -> dict[str, float]:
        """Tokens per second of each kind of work; `memory`: bytes per second that it gave around the decode."""
        before = memory.speed() if memory else 0
        rates = {"decode": self.tokens / self.decode()}
        if memory:
            rates["memory"] = (before + memory.speed()) / 2
        long = min(LONG, self.context - 8)
        return {**rates, "prefill": long / self.prefill(long), "batch4": SEQUENCES * self.tokens / self.batch()}

    def second_round(self, memory: Readers) -> dict[str, float]:
        """The first one warms."""
        self.round(None)
        return self.round(memory)


class Llama(Side):
    def __init__(self, path: Path, ours: "Ours"):
        context, self.context, self.tokens = ours.context, ours.context, ours.tokens
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("peer_llama.py")), str(path), str(THREADS), str(context)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        ready = self._answer()
        self.loading, self.words = ready["ready"], ready["words"]

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(
                f"llama.cpp ended with {self.process.wait()}; is llama-cpp-python installed beside {sys.executable}?")
        return json.loads(line)

    def ask(self, **request) -> float:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._answer()["seconds"]

    def decode(self) -> float:
        return self.ask(do="decode", prompt=self.prompt(PROMPT), tokens=self.tokens)

    def prefill(self, count: int) -> float:
        return self.ask(do="prefill", prompt=self.prompt(count))

    def batch(self) -> float:
        return self.ask(do="batch", prompts=[self.prompt(PROMPT) for _ in range(SEQUENCES)], tokens=self.tokens)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


class Ours(Side):
    """A deployed model."""

    def __init__(self, daemon: Daemon, model: str, tokens: int):
        self.daemon, self.model, self.tokens = daemon, model, tokens
        described = daemon.json("describe", model)
        self.context, self.words = min(CONTEXT, described["context"]), described["vocabulary"]
        self.functions = sorted(described["functions"], key=lambda function: function["runtime"] != "router")
        self.shards = [daemon.shard(function) for function in self.functions]

    def prefill(self, count: int, tokens: int = 1) -> float:
        return self.daemon.answer_seconds(self.model, self.prompt(count), tokens)

    def decode(self) -> float:
        """Of the tokens behind the first."""
        return self.prefill(PROMPT, self.tokens + 1) - self.prefill(PROMPT)

    def batch(self) -> float:
        """The same for all sequences at once."""
        def together(tokens: int) -> float:
            begin = time.perf_counter()
            with ThreadPoolExecutor(SEQUENCES) as pool:
                list(pool.map(lambda _: self.prefill(PROMPT, tokens), range(SEQUENCES)))
            return time.perf_counter() - begin

        return together(self.tokens + 1) - together(1)

    def rest(self):
        """No worker."""
        self.daemon.run("evict", "--all")
        wait_for(lambda: self.daemon.ps() == [], 20, "no workers")


def deployed(daemon: Daemon, case: Case, path: Path) -> Ours:
    daemon.deploy(path, "--name", "m", "--experts-per-function", "1")
    if case.grouped:
        daemon.deploy(path, "--name", "all", "--experts-per-function", "all")
    return Ours(daemon, "m", case.tokens)


def warm(these: list[Path], those: list[Path]):
    """These into the page cache; and those out of it, because the whole shape fits once."""
    for path in those:
        drop(path)
    for path in these:
        with path.open("rb") as file:
            while file.read(8 << 20):
                pass


class Bench:
    def __init__(self, out: Path, rounds: int):
        self.out, self.rounds = out, rounds
        self.memory = Readers(THREADS)
        self.rows: list[dict] = []
        self.prices: list[dict] = []
        self.roofs: list[dict] = []

    def row(self, case: str, unit: str, pairs: list[tuple[float, float]]):
        ratios = sorted(ours / theirs for ours, theirs in pairs)
        entry = {
            "case": case, "locum": statistics.median(a for a, _ in pairs), "peer": statistics.median(b for _, b in pairs),
            "ratio": statistics.median(ratios), "unit": unit, "spread": [ratios[0], ratios[-1]], "rounds": len(pairs)}
        self.rows.append(entry)
        print("| {case} | {locum:,.1f} | {peer:,.1f} | {unit} | {ratio:.2f} ({0:.2f} to {1:.2f}) |".format(
            *entry["spread"], **entry), flush=True)
        (self.out / "peer.json").write_text(json.dumps(self.rows, indent=1))

    def plot(self):
        """Of times the less is the better."""
        plot(self.out / "peer.svg", f"Locum's speed against llama.cpp's, {THREADS} threads, same file", [
            (row["case"], 1 / row["ratio"], 1 / row["spread"][1], 1 / row["spread"][0]) if row["unit"] == "ms"
            else (row["case"], row["ratio"], *row["spread"]) for row in self.rows if row["unit"] != "MiB"])

    def price(self, case: str, daemon: Daemon, ours: Ours):
        lines = "".join(f"{f['name']} {shard}\n" for f, shard in zip(ours.functions, ours.shards, strict=True))
        done = subprocess.run(
            [str(BIN / "locum-bench"), "isolation", "256"], input=lines, capture_output=True, text=True,
            env={**os.environ, "LOCUM_DATA": str(daemon.data)})
        if done.returncode != 0:
            raise SystemExit(f"locum-bench isolation: {done.stderr}")
        figures = json.loads(done.stdout)
        many, one = figures["processes"], figures["one_process"]
        entry = {
            "case": case, "processes_us": many["token_us"], "one_process_us": one["token_us"],
            "price": figures["price"], "quartiles": figures["quartiles"],
            # What a token waits longer for: rows and calls written, answers taken; the slower lane; and all else, which is
            # waking experts and coming back.
            "transfer_us": many["planning_us"] - one["planning_us"],
            "imbalance_us": many["imbalance_us"] - one["imbalance_us"],
            "wake_us": many["receiving_us"] - one["receiving_us"]}
        self.prices.append(entry)
        print("isolation {case}: {processes_us:,.0f} µs with processes, {one_process_us:,.0f} without: {price:.3f} "
              "(quartiles {0:.3f} to {1:.3f}); wake {wake_us:,.0f}, transfer {transfer_us:,.0f}, imbalance "
              "{imbalance_us:,.0f} µs".format(*entry["quartiles"], **entry), flush=True)
        (self.out / "isolation.json").write_text(json.dumps(self.prices, indent=1))

    def together(self, case: Case, folder: Path):
        """Both alive, asked in turns; each round begins with the other one."""
        path = case.make(folder)
        with Daemon(folder / "data", *OPTIONS) as daemon:
            ours = deployed(daemon, case, path)
            llama = Llama(path, ours)
            whole = Ours(daemon, "all", case.tokens) if case.grouped else None
            pairs, grouped = defaultdict(list), defaultdict(list)
            for number in range(self.rounds + 1):
                sides = [ours, llama] if number % 2 else [llama, ours]
                # A token of the embedded model comes from the cache.
                memory = self.memory if case.preset else None
                rates = {side: side.round(memory) for side in sides}
                again = whole.round(None) if whole else {}
                # The first round warms.
                if number > 0:
                    for name in rates[ours]:
                        pairs[name].append((rates[ours][name], rates[llama][name]))
                    for name in again:
                        grouped[name].append((again[name], rates[llama][name]))
            if case.preset:
                self.roof(case, path, pairs["decode"], pairs.pop("memory"))
            for name, values in pairs.items():
                self.row(f"{case.name}-{name}", "tokens/s", values)
            for name, values in grouped.items():
                self.row(f"{case.name}-{name}-all", "tokens/s", values)
            llama.end()
            self.price(case.name, daemon, ours)
            self.starts(case, path, ours)
            if whole:
                self.starts(case, path, whole, "-all")
        path.unlink()

    def apart(self, case: Case, folder: Path):
        """In blocks with one of them alive, each warmed anew: there is no room for both."""
        path = case.make(folder)
        sides: dict[str, list[dict]] = {"ours": [], "theirs": []}
        ours = None
        for block in range(self.rounds):
            if ours:
                warm(ours.shards, [path])
            with Daemon(folder / "data", *OPTIONS) as daemon:
                # Under 1,440 workers, beside whatever llama.cpp has pressed out of memory.
                daemon.longest_stop = 12
                ours = deployed(daemon, case, path) if block == 0 else Ours(daemon, "m", case.tokens)
                sides["ours"].append(ours.second_round(self.memory))
                if block == self.rounds - 1:
                    self.resident(case, daemon, ours, path)
                    self.price(case.name, daemon, ours)
                    self.starts(case, path, ours)
            warm([path], ours.shards)
            llama = Llama(path, ours)
            sides["theirs"].append(llama.second_round(self.memory))
            llama.end()
        both = {
            name: [(mine[name], other[name]) for mine, other in zip(sides["ours"], sides["theirs"], strict=True)]
            for name in sides["ours"][0]}
        self.roof(case, path, both["decode"], both.pop("memory"))
        for name, values in both.items():
            self.row(f"{case.name}-{name}", "tokens/s", values)
        path.unlink()

    def roof(self, case: Case, path: Path, rates: list[tuple[float, float]], memory: list[tuple[float, float]]):
        """Decode's share of what memory allowed around it."""
        weights, speed = bytes_per_token(path), statistics.median(speed for pair in memory for speed in pair)
        mine, other = (
            statistics.median(rate[side] * weights / speed[side] for rate, speed in zip(rates, memory)) for side in (0, 1))
        self.roofs.append({
            "case": case.name, "bytes_per_token": weights, "bytes_per_second": speed,
            "most_tokens_per_second": speed / weights, "locum_share": mine, "peer_share": other})
        print(f"roof {case.name}: {weights / 1e9:.2f} GB a token at {speed / 1e9:.1f} GB/s are {speed / weights:.1f} tokens/s "
              f"at most; Locum has {mine:.0%}, llama.cpp {other:.0%}", flush=True)
        (self.out / "roofline.json").write_text(json.dumps(self.roofs, indent=1))

    def starts(self, case: Case, path: Path, ours: Ours, which: str = ""):
        pairs = []
        for _ in range(self.rounds):
            ours.rest()
            warm(ours.shards, [path])
            mine = ours.prefill(SHORT)
            ours.rest()
            warm([path], ours.shards)
            fresh = Llama(path, ours)
            pairs.append((mine * 1000, (fresh.loading + fresh.ask(do="prefill", prompt=fresh.prompt(SHORT))) * 1000))
            fresh.end()
        self.row(f"{case.name}-first-token{which}", "ms", pairs)

    def resident(self, case: Case, daemon: Daemon, ours: Ours, path: Path):
        """All of Locum with all experts awake, beside the file; of keys and values those of one short prompt."""
        while len(daemon.ps()) < len(ours.functions):
            ours.prefill(LONG)
        daemon.run("evict", ours.functions[0]["name"])
        ours.prefill(SHORT)
        pids = [daemon.process.pid, *children(daemon.process.pid)]
        self.row(f"{case.name}-pss", "MiB", [(pss(pids) / 2**20, path.stat().st_size / 2**20)])


HEAD = "| case | Locum | llama.cpp | unit | ratio (least to most) |\n|---|---|---|---|---|"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--full", action="store_true", help="also the whole shape, three quarters of an hour more")
    parser.add_argument("--only", default="", help="cases whose names begin so")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.out, options.rounds)
    print(f"Load of the machine before: {os.getloadavg()[0]:.2f}; {os.cpu_count()} cores.\n\n{HEAD}", flush=True)
    for case in QUICK + (FULL if options.full else []):
        if case.name.startswith(options.only):
            with tempfile.TemporaryDirectory(prefix="locum-bench-peer-") as folder:
                (bench.apart if case in FULL else bench.together)(case, Path(folder))
    bench.plot()


if __name__ == "__main__":
    main()
