"""The table of attempts to get out of the sandbox: tests add lines to the file that LOCUM_SANDBOX_TABLE names, and
`python table.py FILE` prints them and how many passed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

LEAST = 60


def record(passed: bool, user: str, name: str, gain: str, outcome: str) -> None:
    """One attempt: what it would be good for, and what became of it."""
    path = os.environ.get("LOCUM_SANDBOX_TABLE")
    if path:
        with open(path, "a") as file:
            file.write("\t".join(["passed" if passed else "FAILED", user, name, gain, outcome]) + "\n")


def main(path: Path) -> int:
    rows = [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []
    rows = [row for row in rows if len(row) == 5]
    head = ["", "as", "attempt", "to", "outcome"]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(5)]
    for row in [head, *rows]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    failed = sum(row[0] != "passed" for row in rows)
    attempts = len({row[2] for row in rows})
    print(f"{attempts} attempts, each by {', '.join(sorted({row[1] for row in rows}))}")
    print(f"{len(rows) - failed} passed, {failed} failed")
    return 1 if failed or attempts < LEAST else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
