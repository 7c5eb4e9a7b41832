#!/usr/bin/env python3
"""Runs fuzz targets, as many at once as there are processors, and says in a line what came of each.

usage: run.py PROGRAM SECONDS FOLDER [TARGET...]

FOLDER gets, per target, what libFuzzer said, the inputs that reached something new (where the next run goes on) and
the inputs that were found. An input counts as found when the program crashes on it, takes longer than 10 s or more
than 1 GiB. Ends with 1 when something was found.
"""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
LIMITS = ["-timeout=10", "-rss_limit_mb=1024", "-detect_leaks=0", "-print_final_stats=1"]
FOUND = {70: "too slow", 71: "too much memory", 77: "crash"}
ROW = "{:<18}{:>12}{:>10}{:>9}{:>10}{:>8}  {}"


def fuzz(program, target, longest, seconds, folder):
    """Runs one target; answers its row and the input that was found, if any."""
    corpus = folder / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    command = [program, target, *LIMITS, f"-max_total_time={seconds}", f"-max_len={longest}"]
    command.append(f"-artifact_prefix={folder}/{target}-")
    words = HERE / "Dictionaries" / f"{target}.dict"
    if words.exists():
        command.append(f"-dict={words}")
    command += [str(corpus), str(HERE / "Corpus" / target)]
    environment = dict(os.environ, SWIFT_BACKTRACE="enable=no", ASAN_OPTIONS="quarantine_size_mb=32")
    log = folder / f"{target}.log"
    with log.open("w") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, env=environment, check=False).returncode

    text = log.read_text(errors="replace")
    stats = dict(re.findall(r"stat::(\w+):\s+(\d+)", text))
    reached = re.findall(r"cov: (\d+) ft: (\d+)", text) or [("?", "?")]
    verdict = "" if code == 0 else FOUND.get(code, f"ended with {code}")
    row = ROW.format(
        target, stats.get("number_of_executed_units", "?"), stats.get("average_exec_per_sec", "?"), reached[-1][0],
        reached[-1][1], stats.get("peak_rss_mb", "?"), verdict)
    if code == 0:
        return row, None
    written = re.findall(r"Test unit written to (\S+)", text)
    return row, f"{target}: {verdict}; {log} says where. Again: {program} {target} {written[-1] if written else '?'}"


def main():
    program, seconds, folder, *wanted = sys.argv[1:]
    folder = Path(folder)
    targets = [line.split() for line in subprocess.check_output([program], text=True).splitlines()]
    unknown = set(wanted) - {name for name, _ in targets}
    if unknown:
        sys.exit(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(name for name, _ in targets)}")
    print(ROW.format("target", "executions", "per s", "edges", "features", "MiB", f"({seconds} s each)"), flush=True)
    chosen = [(name, longest) for name, longest in targets if name in wanted or not wanted]
    findings = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for row, finding in pool.map(lambda target: fuzz(program, *target, seconds, folder), chosen):
            print(row, flush=True)
            if finding:
                findings.append(finding)
    print("\n".join(findings) or "nothing found")
    sys.exit(1 if findings else 0)


main()
