"""What a person may hand to `locum deploy` beside one plain file: parts of a GGUF file, and formats to convert to."""

import struct
from pathlib import Path

import numpy as np
import pytest
from daemon import NANO, Daemon, Failed
from safetensors.numpy import load_file

GGUF = NANO / "gguf/qwen2moe.Q4_0.gguf"
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("formats") / "data", "--threads", "2") as daemon:
        yield daemon


def split(path: Path, folder: Path, count: int) -> list[Path]:
    """A GGUF file in parts as llama-gguf-split names and fills them."""
    data = path.read_bytes()
    tensors, values = struct.unpack_from("<QQ", data, 8)
    at = 24

    def text() -> bytes:
        nonlocal at
        length = struct.unpack_from("<Q", data, at)[0]
        at += 8 + length
        return data[at - length : at]

    def skip(kind: int):
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            inner, length = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(length):
                skip(inner)
        else:
            at += SIZES[kind]

    for _ in range(values):
        text()
        at += 4
        skip(struct.unpack_from("<I", data, at - 4)[0])
    metadata, described = data[24:at], []
    for _ in range(tensors):
        begin = at
        text()
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 4
        described.append((data[begin:at], struct.unpack_from("<Q", data, at)[0]))
        at += 8
    body = data[(at + 31) // 32 * 32 :]
    ends = sorted([offset for _, offset in described] + [len(body)])
    parts = []
    for number in range(count):
        mine = described[number::count]
        keys = b"".join(
            struct.pack("<Q", len(key)) + key + struct.pack("<II" if kind == 4 else "<Ii", kind, value)
            for key, kind, value in (
                (b"split.no", 4, number), (b"split.count", 4, count), (b"split.tensors.count", 5, tensors)))
        head = b"GGUF" + struct.pack("<IQQ", 3, len(mine), 3 + (values if number == 0 else 0))
        head += (metadata if number == 0 else b"") + keys
        contents = b""
        for words, offset in mine:
            head += words + struct.pack("<Q", len(contents))
            contents += body[offset : ends[ends.index(offset) + 1]]
            contents += bytes(-len(contents) % 32)
        head += bytes(-len(head) % 32)
        parts.append(folder / f"nano-{number + 1:05}-of-{count:05}.gguf")
        parts[-1].write_bytes(head + contents)
    return parts


def test_any_part_of_a_gguf_file_means_all_of_them(daemon, tmp_path):
    parts = split(GGUF, tmp_path, 3)
    whole = daemon.deploy(GGUF, "--name", "whole")
    for part in parts:
        report = daemon.deploy(part)
        assert report["name"] == "nano" and report["shards_written"] == 0 and report["bytes"] == whole["bytes"]
    assert daemon.run("generate", "nano", "hello", "--max-tokens", "3")
    parts[1].unlink()
    with pytest.raises(Failed) as failure:
        daemon.deploy(parts[0], "--name", "cut")
    assert failure.value.code == 1 and parts[1].name in failure.value.err
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(Failed) as failure:
        daemon.deploy(parts[0], "--name", "cut")
    assert failure.value.code == 1 and "part 3 of 3" in failure.value.err
    assert {model["name"] for model in daemon.json("list")} == {"whole", "nano"}


@pytest.mark.parametrize(
    "quantize,most", [("q8_0", 1e-3), ("q6_k", 1e-2), ("q4_k", 5e-2), ("q4_0", 1e-1)])
def test_a_model_converted_at_import_stays_near_its_own_numbers(daemon, tmp_path, quantize, most):
    """Against the reference of the unconverted weights: the error is the format's own."""
    daemon.deploy(NANO / "kquant-qwen2moe", "--name", quantize, "--kv-type", "f32", "--quantize", quantize)
    ids = NANO / "references/kquant-qwen2moe.F32.safetensors"
    daemon.eval(quantize, ids, tmp_path / "mine.safetensors")
    mine, reference = load_file(str(tmp_path / "mine.safetensors")), load_file(str(ids))
    square = power = 0.0
    for prompt in range(4):
        wanted = reference[f"p{prompt}.logits"]
        got = mine[f"p{prompt}.logits"][reference[f"p{prompt}.logit_positions"]]
        square += float(np.square(got - wanted, dtype=np.float64).sum())
        power += float(np.square(wanted, dtype=np.float64).sum())
    print(f"{quantize}: NMSE {square / power:.2e}")
    assert square / power < most
    described = daemon.json("describe", quantize)
    assert described["quantization"].lower() == quantize


def test_a_chat_template_can_be_given(daemon, tmp_path):
    template = tmp_path / "any name.txt"
    template.write_text("{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{% endfor %}")
    for source, name in ((GGUF, "from-gguf"), (NANO / "qwen2moe", "from-folder")):
        daemon.deploy(source, "--name", name, "--chat-template", str(template))
        chat = daemon.client().chat.completions.create(
            model=name, messages=[{"role": "user", "content": "hello"}], max_tokens=1)
        plain = daemon.client().completions.create(model=name, prompt="<user>hello", max_tokens=1)
        assert chat.usage.prompt_tokens == plain.usage.prompt_tokens
    template.write_text("one\n{% include 'x' %}")
    with pytest.raises(Failed) as failure:
        daemon.deploy(GGUF, "--name", "bad", "--chat-template", str(template))
    assert failure.value.code == 1 and "line 2" in failure.value.err
    with pytest.raises(Failed) as failure:
        daemon.deploy(GGUF, "--name", "bad", "--chat-template", str(tmp_path / "missing"))
    assert failure.value.code == 1 and "missing" in failure.value.err


def test_an_unknown_format_is_refused_with_the_known_ones(daemon):
    with pytest.raises(Failed) as failure:
        daemon.deploy(GGUF, "--quantize", "q3_k")
    assert failure.value.code == 64 and "q4_k" in failure.value.err
