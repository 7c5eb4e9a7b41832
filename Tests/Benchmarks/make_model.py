"""Qwen2-MoE models with random weights as Hugging Face folders, of any shape, for benchmarks.

    python make_model.py OUT --layers 24 --experts 60 --hidden 64 --inner 32
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

NANO = Path(__file__).resolve().parent.parent / "Conformance/nano/qwen2moe"


def make(out: Path, layers: int, experts: int, hidden: int, inner: int, heads: int = 4, seed: int = 1, topk: int = 4):
    out.mkdir(parents=True, exist_ok=True)
    config = json.loads((NANO / "config.json").read_text())
    config.update(
        num_hidden_layers=layers, num_experts=experts, hidden_size=hidden, moe_intermediate_size=inner,
        num_attention_heads=heads, num_key_value_heads=heads // 2, num_experts_per_tok=topk,
        shared_expert_intermediate_size=2 * inner, max_window_layers=layers)
    (out / "config.json").write_text(json.dumps(config))
    for name in ("generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(NANO / name, out / name)
    random = np.random.default_rng(seed)
    head = hidden // heads
    weights: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int):
        weights[name] = (random.standard_normal(shape, dtype=np.float32) / np.sqrt(shape[-1])).astype(np.float32)

    def ones(name: str, n: int):
        weights[name] = np.ones(n, np.float32)

    add("model.embed_tokens.weight", config["vocab_size"], hidden)
    add("lm_head.weight", config["vocab_size"], hidden)
    ones("model.norm.weight", hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        ones(at + "input_layernorm.weight", hidden)
        ones(at + "post_attention_layernorm.weight", hidden)
        for name, rows in (("q", hidden), ("k", head * heads // 2), ("v", head * heads // 2)):
            add(f"{at}self_attn.{name}_proj.weight", rows, hidden)
            weights[f"{at}self_attn.{name}_proj.bias"] = np.zeros(rows, np.float32)
        add(at + "self_attn.o_proj.weight", hidden, hidden)
        add(at + "mlp.gate.weight", experts, hidden)
        add(at + "mlp.shared_expert_gate.weight", 1, hidden)
        groups = [(f"{at}mlp.experts.{e}.", inner) for e in range(experts)] + [(at + "mlp.shared_expert.", 2 * inner)]
        for prefix, width in groups:
            add(prefix + "gate_proj.weight", width, hidden)
            add(prefix + "up_proj.weight", width, hidden)
            add(prefix + "down_proj.weight", hidden, width)
    save_file(weights, str(out / "model.safetensors"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for option, default in (("layers", 24), ("experts", 60), ("hidden", 64), ("inner", 32), ("heads", 4)):
        parser.add_argument(f"--{option}", type=int, default=default)
    arguments = parser.parse_args()
    make(arguments.out, arguments.layers, arguments.experts, arguments.hidden, arguments.inner, arguments.heads)
