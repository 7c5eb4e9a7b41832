"""What a decode step must read, and how fast this machine reads: a token cannot come faster than the one divided by the other."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import time
from pathlib import Path

# Larger than any cache, so that nothing is read twice from one.
BYTES = 1 << 29


def bytes_per_token(path: Path) -> int:
    """Of the weights of a GGUF model: all matrices, of the experts those that a token calls, of the embedding a row."""
    import gguf

    reader = gguf.GGUFReader(str(path))
    number = lambda key: int(next(f for name, f in reader.fields.items() if name.endswith(key)).contents())  # noqa: E731
    experts, used = number(".expert_count"), number(".expert_used_count")
    total = 0
    for tensor in reader.tensors:
        if tensor.name == "token_embd.weight" and any(t.name == "output.weight" for t in reader.tensors):
            continue
        size = int(tensor.n_bytes)
        total += size * used // experts if "_exps" in tensor.name else size
    return total


def read(core: int, start, results):
    os.sched_setaffinity(0, {core})
    memory = b"\1" * BYTES
    search = ctypes.CDLL(None).memchr
    search.argtypes, search.restype = [ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    while True:
        start.wait()
        begin = time.perf_counter()
        # libc looks for a byte that is not there, with the widest loads that the processor has.
        assert search(memory, 2, BYTES) is None
        results.put(time.perf_counter() - begin)


class Readers:
    """Processes that read memory together when asked to, one per core. What a virtual machine gets of its host's memory
    changes from second to second, so they are asked right before and after what their speed is held against."""

    def __init__(self, cores: int):
        chosen = sorted(os.sched_getaffinity(0))[:cores]
        self.count, self.start, self.results = len(chosen), multiprocessing.Barrier(len(chosen) + 1), multiprocessing.Queue()
        for core in chosen:
            multiprocessing.Process(target=read, args=(core, self.start, self.results), daemon=True).start()
        self.speed()

    def speed(self) -> float:
        """Bytes per second of all together; the better of two runs."""
        return max(self._run() for _ in range(2))

    def _run(self) -> float:
        self.start.wait()
        return self.count * BYTES / max(self.results.get() for _ in range(self.count))
