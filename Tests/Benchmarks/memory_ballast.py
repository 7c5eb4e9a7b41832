"""Memory that is held so that a measured program runs on a host of a certain size.

A virtual machine may hand free memory back to its host and pay for it at the next touch (free page reporting: 14 ms
for 5 MiB were seen, three times what reading them takes). A program that frees and takes memory on a host with much
free memory would be measured by that. A box that is full, which is what this is about, reuses what was just freed.
"""

from __future__ import annotations

import mmap

PIECE = 64 << 20
# Always left to others.
LEAST = 256 << 20


def available() -> int:
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:")) * 1024


class Ballast:
    """Touched memory of this process."""

    def __init__(self):
        self._pieces: list[mmap.mmap] = []

    def leave(self, bytes: int):
        """Holds all but so many bytes. It takes nearly everything before it gives back, so that what is free is in
        large pieces, and was touched just now."""
        while available() > LEAST + PIECE:
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
            self._pieces.append(mmap.mmap(-1, PIECE, flags=flags))
        while self._pieces and available() < bytes:
            self._pieces.pop(0).close()
