"""`make bench-memory`: models that do not fit into their memory. Locum and llama.cpp (mmap) in memory groups of the
same limit, Locum beside what no program could do better, and what guessing experts ahead brings. Prints a table in
Markdown for BENCHMARKS.md; writes OUT/memory.json and OUT/memory.svg.

    LOCUM_BIN=bin python Tests/Benchmarks/memory.py OUT [--quick] [--only TEXT] [--folder DIR]

Beside llama.cpp a run begins cold: a program just started, nothing of the model in the page cache. Locum alone is
measured when the model has run for a while: after as many tokens of another request. A run decodes from a short prompt
of random ids (text would skew the routing) at temperature 1; speed is taken from the first token to the last. The bound
is what recorded accesses of the same requests need: the larger of compute per token (all in memory, warm) and the
bytes that Belady's policy, which knows the future, reads per token over the bandwidth of large direct reads. Memory
that a run may not use is held meanwhile (memory_ballast.py).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from daemon import BIN, Failed  # noqa: E402
from memory_disk import measure  # noqa: E402
from memory_plot import plot  # noqa: E402
from memory_runs import Run, Store, llama_run, locum_run  # noqa: E402

SKEWS = {"flat": 0.0, "medium": 0.8, "strong": 1.4}
SHARES = (1.25, 0.75, 0.5, 0.25)


class Bench:
    def __init__(self, folder: Path, preset: str, layers: int | None, tokens: int, repeats: int,
                 seconds: int):
        self.folder, self.preset, self.layers = folder, preset, layers
        self.tokens, self.repeats, self.seconds = tokens, repeats, seconds
        self.rows: list[dict] = []
        self.disks: list[dict] = []

    def model(self, skew: str) -> Path:
        path = self.folder / f"{skew}.gguf"
        if not path.exists():
            layers = ["--layers", str(self.layers)] if self.layers else []
            subprocess.run(
                [BIN / "locum-testmodel", path, "--preset", self.preset, *layers, "--quantize", "Q4_0",
                 "--skew", str(SKEWS[skew])], check=True, stdout=subprocess.DEVNULL)
        return path

    def row(self, case: str, budget: int, ours: list[Run], theirs: list[Run] | None, bounds: list[float], **more):
        """One line of the result; medians of the runs that ended."""
        speeds, others = [[r.rate for r in runs if r.rate] for runs in (ours, theirs or [])]
        middle = lambda values: statistics.median(values) if values else None  # noqa: E731
        speed, other, bound = middle(speeds), middle(others), middle(bounds)
        entry = {
            "case": case, "budget_bytes": budget, "locum_tokens_per_second": speed,
            "llama_tokens_per_second": other, "ratio": speed / other if speed and other else None,
            "bound_tokens_per_second": bound, "of_bound": speed / bound if speed and bound else None,
            "bytes_read": middle([r.bytes_read for r in ours if r.rate]),
            "bytes_read_per_token": middle([r.bytes_read / r.tokens for r in ours if r.rate]),
            "llama_bytes_read": middle([r.bytes_read for r in theirs or [] if r.rate]),
            "llama_bytes_read_per_token": middle([r.bytes_read / r.tokens for r in theirs or [] if r.rate]),
            "locum_spread": [min(speeds), max(speeds)] if speeds else None,
            "llama_spread": [min(others), max(others)] if others else None,
            "stolen": middle([r.stolen for r in ours if r.rate]),
            "first_token_seconds": middle([r.first for r in ours if r.rate]),
            "runs_failed": [r.failure for r in [*ours, *(theirs or [])] if r.failure],
            "tokens": self.tokens, **more,
        }
        self.rows.append(entry)
        print(table_row(entry), flush=True)

    def side_by_side(self, skew: str, store: Store, share: float):
        """Both programs in groups of the same limit, `share` of the model's size."""
        path = self.model(skew)
        limit = int(path.stat().st_size * share)
        name = f"{skew}, limit {share:.0%} of the model"
        ours, theirs = [], []
        for seed in range(self.repeats):
            # In turns, so that both see the same minutes of the machine.
            ours.append(locum_run(store, self.tokens, [seed], limit=limit))
            theirs.append(llama_run(path, self.tokens, seed, limit, self.seconds))
        self.row(name, limit, ours, theirs, [], routing=skew, memory="cgroup", start="cold")

    def bounds(self, store: Store, budget: int) -> list[float]:
        """Tokens per second that accesses as recorded allow at a budget, per recording."""
        disk = measure(store.gguf, store.expert_bytes)
        self.disks.append({"routing": store.name, **disk})
        rates = []
        for trace in store.traces:
            try:
                best = store.replay(trace, "belady", budget, disk["direct_8m_bytes_per_second"])
            except Failed as failed:
                print(f"no bound: {failed}", file=sys.stderr)
                continue
            reading = best["bytes_read"] / max(1, best["tokens"]) / disk["direct_8m_bytes_per_second"]
            rates.append(1 / max(1 / store.full_rate, reading))
        return rates

    def alone(self, skew: str, store: Store):
        """Locum by itself with shares of the experts' bytes beside what is always in memory, in turns, so that all shares
        see the same minutes of the machine. The first has room for everything: what the others are compared with."""
        budgets = {share: store.fixed_bytes + int(store.all_expert_bytes * share) for share in SHARES}
        runs: dict[float, list[Run]] = {share: [] for share in SHARES}
        plans: dict[float, list[float]] = {share: [] for share in SHARES}
        for seed in range(self.repeats):
            for turn in range(len(SHARES)):
                share = SHARES[(seed + turn) % len(SHARES)]
                plans[share].append(store.plan(budgets[share]))
                runs[share].append(locum_run(store, self.tokens, [seed], budget=budgets[share], warm=True))
        whole = runs[SHARES[0]]
        store.full_rate = statistics.median([run.rate for run in whole if run.rate] or [0])
        for share, ours in runs.items():
            budget = budgets[share]
            more = {"plan_tokens_per_second": statistics.median(plans[share])}
            for policy in ("lru", "locum", "belady"):
                if store.traces:
                    more[f"{policy}_hit_rate"] = store.replay(store.traces[0], policy, budget)["hit_rate"]
            shares = [run.rate / full.rate for run, full in zip(ours, whole) if run.rate and full.rate]
            rate = statistics.median([run.rate for run in ours if run.rate] or [0])
            self.row(
                f"{skew}, {share:.0%} of the experts", budget, ours, None, self.bounds(store, budget), routing=skew,
                memory="--memory", start="warm", of_plan=rate / more["plan_tokens_per_second"],
                of_full=statistics.median(shares) if shares else None, **more)

    def prediction(self):
        """The embedded model, trained, at half of its experts: guesses on, off and useless."""
        model = Path(os.environ.get("LOCUM_MODELS", "Runtime/Models")) / "tales-moe"
        with Store(self.folder / "data-tales", model, "tales") as store:
            store.record(self.tokens, 1)
            budget = store.fixed_bytes + store.all_expert_bytes // 2
            runs: dict[str, list[Run]] = {"on": [], "off": [], "shuffled": []}
            seeds = list(range(10))
            # Side by side, each first in turn: a host that is slow for a while is slow for all three.
            for round in range(2 * self.repeats + 5):
                for turn in range(3):
                    mode = list(runs)[(round + turn) % 3]
                    runs[mode].append(
                        locum_run(store, self.tokens, seeds, budget=budget, prediction=mode, warm=True))
            for mode, done in runs.items():
                against = [run.rate / other.rate for run, other in zip(done, runs["off"]) if run.rate and other.rate]
                self.row(f"tales-moe, half of the experts, prediction {mode}", budget, done, None, [], start="warm",
                         prediction=mode, against_off=against)
                print(f"prediction {mode}: {statistics.median(against):.3f} times off's speed ({min(against):.3f} to "
                      f"{max(against):.3f} in {len(against)} rounds)", flush=True)

    def run(self, only: str):
        for skew in SKEWS:
            if only and skew not in only.split(","):
                continue
            with Store(self.folder / f"data-{skew}", self.model(skew), skew) as store:
                store.record(self.tokens, self.repeats)
                if skew != "medium" and "alone" not in only:
                    self.side_by_side(skew, store, 0.5)
                self.alone(skew, store)
            self.model(skew).unlink()
        if not only or "prediction" in only.split(","):
            self.prediction()


HEAD = (
    "| case | memory | Locum tokens/s | llama.cpp tokens/s | ratio | bound | of bound | Locum reads per token "
    "| llama.cpp reads | of full residency | of `locum plan` | stolen |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|")


def table_row(row: dict) -> str:
    def number(key: str, form: str = "{:.2f}", scale: float = 1) -> str:
        return "" if row[key] is None else form.format(row[key] * scale)

    def spread(key: str) -> str:
        return "" if row[key] is None else " ({:.2f} to {:.2f})".format(*row[key])

    cells = [
        row["case"], number("budget_bytes", "{:.0f} MiB", 1 / 2**20),
        number("locum_tokens_per_second") + spread("locum_spread"),
        number("llama_tokens_per_second") + spread("llama_spread"),
        number("ratio", "{:.2f} ×"), number("bound_tokens_per_second"), number("of_bound", "{:.0%}"),
        number("bytes_read_per_token", "{:.1f} MiB", 1 / 2**20),
        number("llama_bytes_read_per_token", "{:.1f} MiB", 1 / 2**20),
        number("of_full", "{:.0%}") if "of_full" in row else "",
        number("of_plan", "{:.0%}") if "of_plan" in row else "",
        number("stolen", "{:.0%}"),
    ]
    failed = f" ({len(row['runs_failed'])} runs failed: {row['runs_failed'][0]})" if row["runs_failed"] else ""
    return "| " + " | ".join([cells[0] + failed, *cells[1:]]) + " |"


def curves(rows: list[dict]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        if "routing" not in row:
            continue
        panel = panels.setdefault(row["routing"], {"bound": [], "locum": [], "llama": []})
        for curve, key in (("bound", "bound_tokens_per_second"), ("locum", "locum_tokens_per_second"),
                           ("llama", "llama_tokens_per_second")):
            if row[key]:
                panel[curve].append((row["budget_bytes"], row[key]))
    return panels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--quick", action="store_true", help="a model of 1 GB, fewer tokens, one run of each")
    parser.add_argument("--only", default="", help="flat, medium, strong or prediction; several with commas; and alone: not beside llama.cpp")
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--folder", type=Path, help="where models and data go (some 10 GB); default: a temporary one")
    options = parser.parse_args()
    for folder in filter(None, (options.out, options.folder)):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="locum-bench-memory-", dir=options.folder) as temporary:
        quick = options.quick
        bench = Bench(
            Path(temporary), "medium" if quick else "qwen1.5-moe-a2.7b", None if quick else 6,
            options.tokens or (64 if quick else 128), options.repeats or (1 if quick else 3), 20 if quick else 60)
        begin = time.monotonic()
        print(f"Load of the machine before: {os.getloadavg()[0]:.2f}; {os.cpu_count()} cores.\n\n{HEAD}", flush=True)
        try:
            bench.run(options.only)
        finally:
            # What was measured before something failed is not lost.
            (options.out / "memory.json").write_text(json.dumps(bench.rows, indent=1))
            plot(options.out / "memory.svg", f"{bench.preset}, Q4_0, 2 threads: tokens/s", curves(bench.rows))
    speeds = [d["direct_8m_bytes_per_second"] for d in bench.disks]
    small = [d["buffered_expert_bytes_per_second"] for d in bench.disks]
    if speeds:
        print(
            f"\nDisk, direct reads of 8 MiB: {statistics.median(speeds) / 1e9:.2f} GB/s ({min(speeds) / 1e9:.2f} to "
            f"{max(speeds) / 1e9:.2f}); buffered reads of one expert: {statistics.median(small) / 1e9:.2f} GB/s.")
    print(f"\n{bench.tokens} tokens, {bench.repeats} runs, {time.monotonic() - begin:.0f} s. "
          f"`python Tests/Benchmarks/memory.py {' '.join(sys.argv[1:])}`")


if __name__ == "__main__":
    main()
