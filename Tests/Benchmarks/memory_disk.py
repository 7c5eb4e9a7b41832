"""The disk as it is now: how fast it reads, and how its pages are made cold. Speeds change from minute to minute on
shared hosts, so they are measured beside what they are compared with.
"""

from __future__ import annotations

import mmap
import os
import random
import statistics
import time
from pathlib import Path


def make_cold(paths: list[Path]):
    """Nothing of these files, and as far as we may nothing at all, is in the page cache."""
    for path in paths:
        for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        pass


def read_speed(path: Path, block: int, direct: bool, seconds: float = 1.0, seed: int = 1) -> float:
    """Bytes per second of reads of `block` bytes at random multiples of it, one after another, page cache cold."""
    make_cold([path])
    size = path.stat().st_size
    places = list(range(0, size // block * block, block))
    random.Random(seed).shuffle(places)
    descriptor = os.open(path, os.O_RDONLY | (os.O_DIRECT if direct else 0))
    buffer = mmap.mmap(-1, block)
    try:
        begin, total = time.perf_counter(), 0
        for place in places:
            total += os.preadv(descriptor, [buffer], place)
            if time.perf_counter() - begin > seconds:
                break
        return total / (time.perf_counter() - begin)
    finally:
        os.close(descriptor)


def measure(path: Path, expert: int) -> dict[str, float]:
    """Median of 3: large direct reads (the disk's bandwidth), and buffered reads of an expert's size."""
    expert = max(4096, expert // 4096 * 4096)
    runs = [(read_speed(path, 8 << 20, True, seed=s), read_speed(path, expert, False, seed=s)) for s in range(3)]
    return {
        "direct_8m_bytes_per_second": statistics.median(a for a, _ in runs),
        "buffered_expert_bytes_per_second": statistics.median(b for _, b in runs),
        "direct_8m_spread": [min(a for a, _ in runs), max(a for a, _ in runs)],
    }
