"""Writes a Qwen2-MoE Hugging Face folder as a GGUF file with Q8_0 matrices, for llama.cpp in `make bench`.
Needs the packages gguf, safetensors and numpy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """All tensors as float32; BF16 by hand, since numpy has no such type."""
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    found = {}
    for name, entry in json.loads(raw[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        data = raw[8 + length + begin : 8 + length + end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(data, {"F32": np.float32, "F16": np.float16}[entry["dtype"]]).astype(np.float32)
        found[name] = values.reshape(entry["shape"])
    return found


def convert(folder: Path, out: Path) -> None:
    import gguf

    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(str(out), "qwen2moe")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_expert_count(config["num_experts"])
    writer.add_expert_used_count(config["num_experts_per_tok"])
    writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    writer.add_expert_shared_feed_forward_length(config["shared_expert_intermediate_size"])
    names = {i: t for t, i in tokenizer["model"]["vocab"].items()}
    kinds = dict.fromkeys(names, gguf.TokenType.NORMAL)
    for token in tokenizer["added_tokens"]:
        names[token["id"]] = token["content"]
        kinds[token["id"]] = gguf.TokenType.CONTROL
    size = config["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([names.get(i, f"[PAD{i}]") for i in range(size)])
    writer.add_token_types([kinds.get(i, gguf.TokenType.UNUSED) for i in range(size)])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(config["eos_token_id"])

    weights = tensors(folder)

    def add(name: str, values: np.ndarray, matrix: bool):
        if matrix:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, np.ascontiguousarray(values))

    add("token_embd.weight", weights["model.embed_tokens.weight"], True)
    add("output.weight", weights["lm_head.weight"], True)
    add("output_norm.weight", weights["model.norm.weight"], False)
    for i in range(config["num_hidden_layers"]):
        hf, blk = f"model.layers.{i}.", f"blk.{i}."
        add(blk + "attn_norm.weight", weights[hf + "input_layernorm.weight"], False)
        add(blk + "ffn_norm.weight", weights[hf + "post_attention_layernorm.weight"], False)
        for k in "qkv":
            add(f"{blk}attn_{k}.weight", weights[f"{hf}self_attn.{k}_proj.weight"], True)
            add(f"{blk}attn_{k}.bias", weights[f"{hf}self_attn.{k}_proj.bias"], False)
        add(blk + "attn_output.weight", weights[hf + "self_attn.o_proj.weight"], True)
        add(blk + "ffn_gate_inp.weight", weights[hf + "mlp.gate.weight"], False)
        add(blk + "ffn_gate_inp_shexp.weight", weights[hf + "mlp.shared_expert_gate.weight"].reshape(-1), False)
        for k in ("gate", "up", "down"):
            stack = np.stack([weights[f"{hf}mlp.experts.{e}.{k}_proj.weight"] for e in range(config["num_experts"])])
            add(f"{blk}ffn_{k}_exps.weight", stack, True)
            add(f"{blk}ffn_{k}_shexp.weight", weights[f"{hf}mlp.shared_expert.{k}_proj.weight"], True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
