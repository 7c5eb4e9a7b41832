"""Decode and prefill of one GGUF file with each instruction set in turn, a process per expert, through HTTP.

    bin/locum-testmodel m6.gguf --preset qwen1.5-moe-a2.7b --layers 6
    LOCUM_BIN=bin python Tests/Benchmarks/isa.py m6.gguf avx2 avx512
"""

import os
import random
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from daemon import Daemon  # noqa: E402

STARTS, REQUESTS, TOKENS, PROMPT = 2, 3, 100, 512
chance = random.Random(1)


def prompt(tokens: int) -> list[int]:
    """Random tokens, which no cache has seen."""
    return [chance.randrange(1000, 100_000) for _ in range(tokens)]


def main():
    model, *paths = sys.argv[1:]
    rates = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="locum-isa-") as folder:
        for start in range(STARTS):
            for path in paths:
                os.environ["LOCUM_ISA"] = path
                with Daemon(Path(folder) / "data", "--threads", "2", "--idle-timeout", "600s") as daemon:
                    assert daemon.status()["sandbox"]["kernels"] == path, f"this processor has no {path}"
                    if not daemon.json("list"):
                        daemon.deploy(Path(model), "--name", "m", "--experts-per-function", "1")
                    daemon.answer_seconds("m", prompt(PROMPT), TOKENS)
                    for _ in range(REQUESTS):
                        first = daemon.answer_seconds("m", prompt(16), 1)
                        rates[path, "decode"].append(TOKENS / (daemon.answer_seconds("m", prompt(16), TOKENS + 1) - first))
                        rates[path, "prefill"].append(PROMPT / daemon.answer_seconds("m", prompt(PROMPT), 1))
    for (path, what), values in sorted(rates.items(), key=lambda entry: entry[0][1]):
        print(f"{what:8} {path:8} {statistics.median(values):7.1f} tokens/s ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
