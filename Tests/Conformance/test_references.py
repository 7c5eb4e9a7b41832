"""Numbers: real workers against what Hugging Face transformers computes from the very weights in each file."""

import json
import subprocess
import sys

import numpy as np
import pytest
from daemon import NANO, TALES
from safetensors.numpy import load_file

CASES = [
    ("qwen2moe", NANO / "qwen2moe", "qwen2moe.F32"),
    ("qwen2moe-norm", NANO / "qwen2moe-norm", "qwen2moe-norm.F32"),
    ("kquant", NANO / "kquant-qwen2moe", "kquant-qwen2moe.F32"),
    *[(f"gguf-{q.lower()}", NANO / f"gguf/qwen2moe.{q}.gguf", f"qwen2moe.{q}") for q in ("F32", "F16", "Q8_0", "Q4_0")],
    *[(m, NANO / m, f"{m}.F32") for m in ("qwen3moe", "mixtral", "olmoe")],
    *[(f"gguf-{n.lower().replace('.', '-')}", NANO / f"gguf/{n}.gguf", n) for n in ("qwen3moe.Q4_0", "mixtral.Q8_0", "olmoe.Q8_0")],
    *[(f"kq-{q.lower()}", NANO / f"gguf/kquant-qwen2moe.{q}.gguf", f"kquant-qwen2moe.{q}")
      for q in ("Q8_0", "Q4_0", "Q4_K_M", "Q5_K_M", "Q6_K")],
]


@pytest.mark.parametrize("name,source,reference", CASES, ids=[c[0] for c in CASES])
def test_logits_and_experts_lie_within_the_tolerances(daemon, tmp_path, name, source, reference):
    daemon.deploy(source, "--name", name, "--kv-type", "f32", "--experts-per-function", "4")
    ids = NANO / f"references/{reference}.safetensors"
    out = tmp_path / "mine.safetensors"
    daemon.eval(name, ids, out)
    mine = load_file(str(out))
    for i in range(4):
        assert f"p{i}.experts" in mine and f"p{i}.router_logits" in mine and f"p{i}.greedy" in mine
    judged = subprocess.run(
        [sys.executable, str(NANO / "compare.py"), str(ids), str(out)], capture_output=True, text=True
    )
    print(judged.stdout)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_converting_at_import_keeps_the_f16_folder_within_its_row(daemon, tmp_path):
    daemon.deploy(NANO / "kquant-qwen2moe", "--name", "k16", "--kv-type", "f32", "--quantize", "f16")
    ids = NANO / "references/kquant-qwen2moe.F16.safetensors"
    daemon.eval("k16", ids, tmp_path / "mine.safetensors")
    judged = subprocess.run(
        [sys.executable, str(NANO / "compare.py"), str(ids), str(tmp_path / "mine.safetensors")],
        capture_output=True, text=True,
    )
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_tales_moe_continues_greedily_as_transformers_does(daemon):
    """Up to the first position where best and second lie closer than the file's own printing tolerance."""
    daemon.deploy(TALES, "--name", "tales", "--kv-type", "f32")
    client = daemon.client()
    prompts = json.loads((TALES / "reference.json").read_text())["prompts"]
    assert prompts
    for prompt in prompts:
        done = client.completions.create(
            model="tales", prompt=prompt["ids"], max_tokens=64, temperature=0, logprobs=2,
            extra_body={"ignore_eos": True, "return_tokens_as_token_ids": True},
        )
        got = [int(t.removeprefix("token_id:")) for t in done.choices[0].logprobs.tokens]
        tops = done.choices[0].logprobs.top_logprobs
        for position, (mine, want) in enumerate(zip(got, prompt["greedy64"], strict=True)):
            best, second = sorted(tops[position].values(), reverse=True)[:2]
            if mine != want:
                assert best - second < 1e-3, f"{prompt['name']}: position {position}: {mine} instead of {want}"
                break


def test_tales_moe_log_probabilities_agree(daemon):
    daemon.deploy(TALES, "--name", "tales", "--kv-type", "f32")
    client = daemon.client()
    for prompt in json.loads((TALES / "reference.json").read_text())["prompts"]:
        done = client.completions.create(
            model="tales", prompt=prompt["ids"], max_tokens=1, temperature=0, logprobs=5,
            extra_body={"ignore_eos": True, "return_tokens_as_token_ids": True},
        )
        want = prompt["top5_last8"][-1]
        mine = done.choices[0].logprobs.top_logprobs[0]
        for ident, logprob in zip(want["ids"], want["logprobs"], strict=True):
            assert np.isclose(mine[f"token_id:{ident}"], logprob, atol=2e-4), (prompt["name"], ident)
