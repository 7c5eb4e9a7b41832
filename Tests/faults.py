"""Faults in one daemon of a `locum up`: Tests/Faults/faults.c, compiled here, counts what the daemon does to the files
of its data folder and lets the N-th operation fail or the process die there. The plan is a small file that both map,
so a daemon need not be started anew for each fault."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).parent / "Faults/faults.c"
KINDS = ("create", "write", "sync", "rename", "unlink", "truncate", "allocate", "mkdir", "mode")
COUNT, FAIL, BROKEN, FULL, KILL, PAUSE = range(6)
#: What a fault does: EIO once, or from there on; no room from there on; death, within a write in the middle of it.
HOWS = {"EIO": FAIL, "EIO from there on": BROKEN, "ENOSPC": FULL, "kill": KILL}


def library(folder: Path) -> Path:
    built = folder / "faults.so"
    subprocess.run(
        ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(built), str(SOURCE), "-ldl"],
        check=True)
    return built


class Faults:
    """The plan for one program."""

    _armed, _how, _at, _count, _met, _paused, _go, _kinds = range(8)

    def __init__(self, library: Path, program: str, data: Path, file: Path):
        file.write_bytes(bytes(4096))
        self.environment = {
            "LD_PRELOAD": str(library), "LOCUM_FAULT_PROGRAM": program, "LOCUM_FAULT_FOLDER": str(data),
            "LOCUM_FAULT_PLAN": str(file),
        }
        with open(file, "r+b") as opened:
            self.memory = mmap.mmap(opened.fileno(), 4096)

    def _get(self, field: int) -> int:
        return struct.unpack_from("<I", self.memory, 4 * field)[0]

    def _set(self, field: int, value: int):
        struct.pack_into("<I", self.memory, 4 * field, value)

    def arm(self, how: int, at: int = 0):
        self.disarm()
        self.memory[: 4 * (self._kinds + len(KINDS))] = bytes(4 * (self._kinds + len(KINDS)))
        self._set(self._how, how)
        self._set(self._at, at)
        self._set(self._armed, 1)

    def disarm(self):
        self._set(self._armed, 0)
        self._set(self._go, 1)

    @contextmanager
    def armed(self, how: int, at: int = 0):
        self.arm(how, at)
        try:
            yield self
        finally:
            self.disarm()

    @property
    def count(self) -> int:
        """Operations since it was armed."""
        return self._get(self._count)

    @property
    def met(self) -> str:
        """Kind of the operation that met the fault; empty: none did."""
        return ("", *KINDS)[self._get(self._met)]

    @property
    def paused(self) -> bool:
        return self._get(self._paused) == 1

    @property
    def kinds(self) -> dict[str, int]:
        return {kind: n for i, kind in enumerate(KINDS) if (n := self._get(self._kinds + i))}
