"""What a daemon takes, seen from outside: sampled from /proc, from the page cache and from a memory cgroup, never
asked of the daemon. A sample that spans time is a lower bound of each of its moments where that can be had, so that
one above the budget is the daemon's fault and not the observer's: a shard's page counts when it was in memory both
before and after the processes were read.

    processes   Pss_Anon + Pss_Shmem + Swap of each (shared pages counted once), its page tables and kernel stacks
    shards      pages that the kernel holds, by mincore on a mapping that nobody touches
    group       anonymous pages, shared memory and kernel memory, where a cgroup was made for the daemon
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from daemon import Daemon, children

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
PAGE = mmap.PAGESIZE
# Kernel stack of a thread (x86-64 and arm64).
STACK = 16 << 10


class Mapped:
    """A file's mapping for mincore, which tells only owners and writers of the file the truth."""

    def __init__(self, path: Path):
        fd = os.open(path, os.O_RDONLY)
        try:
            self.length = os.fstat(fd).st_size
            self.address = None
            if self.length:
                self.address = _libc.mmap(None, self.length, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        finally:
            os.close(fd)
        assert self.address != ctypes.c_void_p(-1).value, f"cannot map {path}"
        self.vector = ctypes.create_string_buffer((self.length + PAGE - 1) // PAGE)

    def resident(self) -> int:
        """A bit of each byte stands for a page."""
        if not self.address or _libc.mincore(self.address, self.length, self.vector):
            return 0
        return int.from_bytes(self.vector, "little")

    def close(self):
        if self.address:
            _libc.munmap(self.address, self.length)
        self.address = None


class PageCache:
    """Pages of all files of a folder that the kernel holds."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: dict[str, Mapped] = {}

    def look(self) -> dict[str, int]:
        names = {entry.name for entry in os.scandir(self.folder)} if self.folder.exists() else set()
        for name in set(self.files) - names:
            self.files.pop(name).close()
        for name in names - set(self.files):
            with contextlib.suppress(FileNotFoundError):
                self.files[name] = Mapped(self.folder / name)
        return {name: mapped.resident() for name, mapped in self.files.items()}

    def bytes(self) -> int:
        return sum(bits.bit_count() for bits in self.look().values()) * PAGE

    def close(self):
        while self.files:
            self.files.popitem()[1].close()


def resident_bytes(folder: Path) -> int:
    cache = PageCache(folder)
    try:
        return cache.bytes()
    finally:
        cache.close()


def private_bytes(pid: int) -> tuple[int, int]:
    """Of a process: pages of its own (its share of those it shares), and what the kernel keeps for it."""
    own = kernel = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("Pss_Anon", "Pss_Shmem", "Swap"):
                own += int(rest.split()[0]) << 10
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name == "VmPTE":
                kernel += int(rest.split()[0]) << 10
            elif name == "Threads":
                kernel += int(rest) * STACK
    return own, kernel


def available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no MemAvailable in /proc/meminfo")


def memory_report(data: Path) -> dict:
    """What the daemon says of itself, by its administration socket: quicker than the CLI."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(data / "run/admin.sock"))
        connection.sendall(b"GET /admin/status HTTP/1.1\r\nHost: locum\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return json.loads(answer[answer.index(b"{") : answer.rindex(b"}") + 1])["memory"]


@dataclass
class Sample:
    at: float
    processes: int
    private: int
    kernel: int
    shards: int
    used: int
    group: int | None

    @property
    def total(self) -> int:
        return self.private + self.kernel + self.shards

    def __str__(self):
        def mib(number):
            return "-" if number is None else f"{number / (1 << 20):.1f}"

        return (
            f"after {self.at:.1f} s: {mib(self.total)} MiB (private {mib(self.private)}, kernel {mib(self.kernel)}, "
            f"shards {mib(self.shards)}, {self.processes} processes), said {mib(self.used)}, group {mib(self.group)}"
        )


class Observer:
    """Samples a running daemon every 100 ms from a thread of its own."""

    def __init__(self, daemon: Daemon, group: "MemoryGroup | None" = None, every: float = 0.1):
        assert daemon.process
        self.daemon, self.group, self.every = daemon, group, every
        self.root = daemon.process.pid
        self.cache = PageCache(daemon.data / "shards")
        self.samples: list[Sample] = []
        self.failure: BaseException | None = None
        self._begun = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def sample(self) -> Sample:
        said = memory_report(self.daemon.data)["used_bytes"]
        before = self.cache.look()
        pids = [self.root, *children(self.root)]
        parts = [private_bytes(pid) for pid in pids]
        group = self.group.unevictable() if self.group else None
        after = self.cache.look()
        # Whatever was held at any moment of this had been reserved before, or is being given back.
        said = max(said, memory_report(self.daemon.data)["used_bytes"])
        shards = sum((bits & after.get(name, 0)).bit_count() for name, bits in before.items()) * PAGE
        return Sample(
            time.monotonic() - self._begun, len(pids), sum(own for own, _ in parts), sum(kernel for _, kernel in parts),
            shards, said, group)

    def _run(self):
        try:
            while not self._end.wait(self.every):
                self.samples.append(self.sample())
        except BaseException as error:
            self.failure = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(30)
        self.cache.close()

    @property
    def highest(self) -> Sample:
        if self.failure:
            raise AssertionError(f"the observer failed: {self.failure!r}") from self.failure
        assert self.samples, "the observer saw nothing"
        return max(self.samples, key=lambda sample: sample.total)


class MemoryGroup:
    """A memory cgroup, v1 or v2, with a limit. Made beside everybody else's and removed at the end."""

    def __init__(self, name: str, limit: int):
        self.path: Path | None = None
        self.reason = "no memory cgroup: "
        v1, v2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
        self.is_v2 = not (v1 / "memory.limit_in_bytes").exists()
        root = v2 if self.is_v2 else v1
        if self.is_v2 and "memory" not in _read(root / "cgroup.subtree_control").split():
            self.reason += "neither a v1 hierarchy nor the v2 controller"
            return
        path = root / name
        try:
            path.mkdir()
        except OSError as error:
            self.reason += str(error)
            return
        try:
            (path / ("memory.max" if self.is_v2 else "memory.limit_in_bytes")).write_text(str(limit))
            self.path = path
        except OSError as error:
            path.rmdir()
            self.reason += str(error)

    def enter(self):
        """Called in the child before it becomes the daemon."""
        assert self.path
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def _stat(self) -> dict[str, int]:
        assert self.path
        return {key: int(value) for key, value in map(str.split, _read(self.path / "memory.stat").splitlines())}

    def unevictable(self) -> int:
        """What no reclaim could give back: private pages, shared memory, and the kernel's own less its caches."""
        assert self.path
        stat = self._stat()
        if self.is_v2:
            return stat["anon"] + stat["shmem"] + stat.get("kernel", 0) - stat.get("slab_reclaimable", 0)
        kernel = int(_read(self.path / "memory.kmem.usage_in_bytes") or 0)
        return stat["total_rss"] + stat["total_shmem"] + kernel

    def swapped(self) -> int:
        assert self.path
        return int(_read(self.path / "memory.swap.current") or 0) if self.is_v2 else self._stat().get("total_swap", 0)

    def peak(self) -> int:
        assert self.path
        return int(_read(self.path / ("memory.peak" if self.is_v2 else "memory.max_usage_in_bytes")) or 0)

    def kills(self) -> int:
        assert self.path
        text = _read(self.path / ("memory.events" if self.is_v2 else "memory.oom_control"))
        return sum(int(line.split()[1]) for line in text.splitlines() if line.split()[0] == "oom_kill")

    def remove(self):
        if not self.path:
            return
        for _ in range(100):
            for pid in _read(self.path / "cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(OSError):
                self.path.rmdir()
                self.path = None
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.path} cannot be removed")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
