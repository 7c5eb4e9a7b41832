"""llama.cpp's side of `make bench-peer`: a process of its own that answers requests on standard input, one JSON object a
line. Through the C functions that llama-cpp-python brings, so that no Python stands in a token's way but an argmax.
Everything at llama.cpp's defaults (weights mapped and repacked, KV cache in F16) but for the threads.

    python peer_llama.py MODEL.gguf THREADS CONTEXT

It begins with {"ready": seconds, "words": size of the vocabulary} and answers
    {"do": "decode", "prompt": [ids], "tokens": N}     {"seconds": of N tokens behind the first}
    {"do": "prefill", "prompt": [ids]}                 {"seconds": to the first token}
    {"do": "batch", "prompts": [[ids], …], "tokens": N}  {"seconds": of N steps behind the first, all sequences together}
"""

from __future__ import annotations

import ctypes
import json
import sys
import time

import llama_cpp as api
import numpy as np

BATCH = 512


class Model:
    def __init__(self, path: str, threads: int, context: int):
        api.llama_backend_init()
        quiet = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(quiet, None)
        self._keep = quiet
        self.model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.words = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self.model))
        self.threads, self.context = threads, context
        self.contexts: dict[int, int] = {}

    def open(self, sequences: int):
        """A context for so many sequences, emptied."""
        if sequences not in self.contexts:
            wanted = api.llama_context_default_params()
            wanted.n_ctx, wanted.n_batch, wanted.n_ubatch = self.context * sequences, BATCH, BATCH
            wanted.n_seq_max = sequences
            wanted.n_threads = wanted.n_threads_batch = self.threads
            self.contexts[sequences] = api.llama_init_from_model(self.model, wanted)
        api.llama_memory_clear(api.llama_get_memory(self.contexts[sequences]), True)
        return self.contexts[sequences]

    def step(self, context, rows: list[tuple[int, int, int, bool]]) -> list[int]:
        """Rows of token, position, sequence, and whether its next token is wanted; the best ids of those."""
        batch = api.llama_batch_init(len(rows), 0, 1)
        try:
            batch.n_tokens = len(rows)
            for index, (token, position, sequence, wanted) in enumerate(rows):
                batch.token[index], batch.pos[index] = token, position
                batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
                batch.logits[index] = wanted
            if api.llama_decode(context, batch) != 0:
                raise SystemExit("llama.cpp could not decode")
        finally:
            api.llama_batch_free(batch)
        best = []
        for index, row in enumerate(rows):
            if row[3]:
                logits = api.llama_get_logits_ith(context, index)
                best.append(int(np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (self.words,)).argmax()))
        return best

    def read(self, context, prompt: list[int], sequence: int = 0) -> int:
        """The first token behind a prompt."""
        for start in range(0, len(prompt), BATCH):
            part = prompt[start : start + BATCH]
            end = start + len(part)
            found = self.step(
                context, [(token, start + i, sequence, start + i + 1 == len(prompt)) for i, token in enumerate(part)])
            if end == len(prompt):
                return found[0]
        raise SystemExit("an empty prompt")

    def prefill(self, prompt: list[int]) -> float:
        context = self.open(1)
        begin = time.perf_counter()
        self.read(context, prompt)
        return time.perf_counter() - begin

    def batch(self, prompts: list[list[int]], tokens: int) -> float:
        context = self.open(len(prompts))
        last = [self.read(context, prompt, sequence) for sequence, prompt in enumerate(prompts)]
        begin = time.perf_counter()
        for step in range(tokens):
            last = self.step(
                context, [(token, len(prompts[i]) + step, i, True) for i, token in enumerate(last)])
        return time.perf_counter() - begin


def main():
    path, threads, context = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    begin = time.perf_counter()
    model = Model(path, threads, context)
    model.open(1)
    print(json.dumps({"ready": time.perf_counter() - begin, "words": model.words}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        match request["do"]:
            case "decode": seconds = model.batch([request["prompt"]], request["tokens"])
            case "prefill": seconds = model.prefill(request["prompt"])
            case "batch": seconds = model.batch(request["prompts"], request["tokens"])
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
