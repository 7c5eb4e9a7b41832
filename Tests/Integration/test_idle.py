"""Daemons that have nothing to do hold next to nothing: code that only their work needed is not mapped any more."""

import time
from pathlib import Path

from daemon import TALES, Daemon, children, wait_for


def mapped_files(pid: int) -> int:
    """Bytes of files that are mapped and present."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssFile:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no RssFile of {pid}")


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_after_the_last_instance_code_is_given_back_and_comes_again(data):
    with Daemon(data, "--idle-timeout", "1s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        names = ("locum-control", "locum-node")
        for _ in range(2):
            text = daemon.run("generate", "tales", "Once upon a time", "--max-tokens", "20", "--temperature", "0", "--seed", "1")
            pids = daemon.daemons()
            working = {name: mapped_files(pids[name]) for name in names}
            # Not by asking: whoever is asked works.
            wait_for(lambda: len(children(daemon.process.pid)) == 3, 20, "no workers")
            wait_for(
                lambda: all(mapped_files(pids[name]) < working[name] * 2 / 3 for name in names), 5,
                f"a third of {working} given back")
            time.sleep(0.5)
            before = {name: ticks(pids[name]) for name in names}
            time.sleep(2)
            # One tick of 10 ms is node's last look at what the daemons take.
            assert all(ticks(pids[name]) <= before[name] + 1 for name in names)
            assert daemon.daemons() == pids
        assert daemon.run("generate", "tales", "Once upon a time", "--max-tokens", "20", "--temperature", "0", "--seed", "1") == text
