"""A control group with a memory limit for the programs of one measurement, v1 or v2. With v2 it also counts the bytes
that they read from disk; v1's blkio counts nothing under some kernels, so there the reads of the whole machine are
taken, and nothing else should run. Needs root.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class Unavailable(Exception):
    pass


def disk_reads() -> int:
    """Bytes that whole disks have read since the start of the machine."""
    total = 0
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if Path(f"/sys/block/{fields[2]}").exists() and not fields[2].startswith(("loop", "ram", "dm-", "zram")):
            total += int(fields[5]) * 512
    return total


class Group:
    """`limit`: bytes; None: none."""

    def __init__(self, name: str, limit: int | None):
        self.is_v2 = (ROOT / "cgroup.controllers").exists()
        self.home = ROOT / name if self.is_v2 else ROOT / "memory" / name
        self.start_reads = disk_reads()
        try:
            if self.is_v2:
                (ROOT / "cgroup.subtree_control").write_text("+memory +io")
            self.home.mkdir(exist_ok=True)
            if limit is not None:
                (self.home / ("memory.max" if self.is_v2 else "memory.limit_in_bytes")).write_text(str(limit))
        except OSError as error:
            raise Unavailable(f"no control group can be made here: {error}") from error

    @contextmanager
    def entered(self):
        """What is started within belongs to the group. The kernel counts pages for whoever touches them first, so the
        pages of this process stay where they are."""
        before = self._own()
        try:
            (self.home / "cgroup.procs").write_text(str(os.getpid()))
            yield
        finally:
            (before / "cgroup.procs").write_text(str(os.getpid()))

    def _own(self) -> Path:
        """Where this process is now."""
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if self.is_v2 and not controllers:
                return ROOT / path.lstrip("/")
            if "memory" in controllers.split(","):
                return ROOT / "memory" / path.lstrip("/")
        raise Unavailable("this process is in no memory control group")

    def bytes_read(self) -> int:
        if not self.is_v2:
            return disk_reads() - self.start_reads
        stat = (self.home / "io.stat").read_text()
        return sum(int(f[7:]) for line in stat.splitlines() for f in line.split() if f.startswith("rbytes="))

    def peak(self) -> int:
        file = self.home / ("memory.peak" if self.is_v2 else "memory.max_usage_in_bytes")
        return int(file.read_text()) if file.exists() else 0

    def remove(self):
        for _ in range(100):
            try:
                return self.home.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.05)
