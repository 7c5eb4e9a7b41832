"""llama.cpp's side of a measurement, a process of its own so that it lives in a control group of its own: maps a GGUF
(mmap, nothing locked), decodes TOKENS tokens after a prompt of given ids at temperature 1, and prints one line of JSON
with the times. Started by memory.py.

After SECONDS it stops with the tokens it has: a model that does not fit may need a minute for thirty.

By default llama.cpp copies Q4_0 weights into private memory in another order (use_extra_bufts), for faster prompts.
Under a limit below the model's size that ends with the kernel killing it, so here it computes from the map.

    python memory_llama.py MODEL.gguf TOKENS SEED THREADS CONTEXT SECONDS ID,ID,…
"""

from __future__ import annotations

import json
import sys
import time

import llama_cpp
from llama_cpp import Llama


def without_repacking():
    """The Python class has no option for it."""
    parameters = llama_cpp.llama_model_default_params

    def changed():
        value = parameters()
        value.use_extra_bufts = False
        return value

    llama_cpp.llama_model_default_params = changed
    llama_cpp.llama_cpp.llama_model_default_params = changed


def main():
    path, tokens, seed, threads, context, seconds = sys.argv[1], *map(int, sys.argv[2:7])
    prompt = [int(part) for part in sys.argv[7].split(",")]
    without_repacking()
    model = Llama(
        path, n_threads=threads, n_threads_batch=threads, n_ctx=context, use_mmap=True, use_mlock=False, seed=seed,
        verbose=False)
    begin = time.perf_counter()
    times = []
    # The sampler over the 40 best: llama.cpp's default, and cheap.
    for _ in model.generate(prompt, temp=1.0, top_k=40, top_p=1.0, min_p=0.0, repeat_penalty=1.0):
        times.append(time.perf_counter() - begin)
        if len(times) == tokens or times[-1] - times[0] > seconds:
            break
    print(json.dumps({"times": times}), flush=True)


if __name__ == "__main__":
    main()
