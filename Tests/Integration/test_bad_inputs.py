"""Bad input: a message with file, place, reason and remedy; nothing half-deployed; the daemons go on."""

import json
import os
import random
import shutil
import socket
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from daemon import NANO, Daemon, Failed, small_disk, wait_for
from safetensors.numpy import load_file, save_file

SOURCE = NANO / "qwen2moe"
GGUF = NANO / "gguf/qwen2moe.Q8_0.gguf"
GATE = "model.layers.1.mlp.experts.2.gate_proj.weight"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("bad") / "data", "--threads", "2") as daemon:
        daemon.deploy(SOURCE, "--name", "good")
        yield daemon


def edit_json(name, change):
    def apply(folder: Path):
        value = json.loads((folder / name).read_text())
        change(value)
        (folder / name).write_text(json.dumps(value))

    return apply


def edit_weights(change):
    def apply(folder: Path):
        weights = load_file(str(folder / "model.safetensors"))
        change(weights)
        save_file(weights, str(folder / "model.safetensors"))

    return apply


def write(name, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def cut(name, keep):
    def apply(folder: Path):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep) if keep < 1 else int(keep)])

    return apply


def header(change):
    """Edits the safetensors header in place, the data stays."""

    def apply(folder: Path):
        raw = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        head = json.loads(raw[8 : 8 + length])
        change(head)
        new = json.dumps(head).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(new)) + new + raw[8 + length :])

    return apply


def poke(tensor, value):
    def change(weights):
        array = weights[tensor].copy()
        array.flat[7] = value
        weights[tensor] = array

    return edit_weights(change)


FOLDERS = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json"),
    "config is no JSON": (write("config.json", b"{"), "config.json"),
    "config is a list": (write("config.json", b"[]"), "config.json"),
    "config is not UTF-8": (write("config.json", b'{"a": "\xff"}'), "config.json"),
    "config is empty": (write("config.json", b""), "config.json"),
    "another architecture": (edit_json("config.json", lambda c: c.update(model_type="gpt_neox", architectures=["GPTNeoX"])), "gpt_neox"),
    "no layers": (edit_json("config.json", lambda c: c.update(num_hidden_layers=0)), "num_hidden_layers"),
    "a million layers": (edit_json("config.json", lambda c: c.update(num_hidden_layers=10**6)), "num_hidden_layers"),
    "a negative width": (edit_json("config.json", lambda c: c.update(hidden_size=-64)), "hidden_size"),
    "a width as text": (edit_json("config.json", lambda c: c.update(hidden_size="64")), "hidden_size"),
    "a width that does not divide": (edit_json("config.json", lambda c: c.update(num_attention_heads=5)), "config.json"),
    "more chosen experts than there are": (edit_json("config.json", lambda c: c.update(num_experts_per_tok=99)), "experts per token"),
    "another activation": (edit_json("config.json", lambda c: c.update(hidden_act="gelu")), "hidden_act"),
    "rotary scaling": (edit_json("config.json", lambda c: c.update(rope_scaling={"type": "longrope", "factor": 4.0})), "rope_scaling"),
    "the vocabulary is a lie": (edit_json("config.json", lambda c: c.update(vocab_size=51200)), "embed_tokens"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "safetensors"),
    "weights cut in half": (cut("model.safetensors", 0.5), "model.safetensors"),
    "weights of four bytes": (cut("model.safetensors", 4), "model.safetensors"),
    "weights empty": (write("model.safetensors", b""), "model.safetensors"),
    "weights are text": (write("model.safetensors", b"not a model at all, only words" * 10), "model.safetensors"),
    "a header length of 2^63": (write("model.safetensors", struct.pack("<Q", 1 << 63) + b"{}"), "model.safetensors"),
    "a header that is no JSON": (write("model.safetensors", struct.pack("<Q", 4) + b"{{{{" + bytes(100)), "model.safetensors"),
    "a missing expert": (edit_weights(lambda w: w.pop(GATE)), GATE),
    "a missing norm": (edit_weights(lambda w: w.pop("model.norm.weight")), "model.norm.weight"),
    "an expert of another shape": (edit_weights(lambda w: w.update({GATE: np.zeros((31, 64), np.float32)})), GATE),
    "a weight that is not a number": (poke(GATE, np.nan), GATE),
    "an infinite weight": (poke("model.embed_tokens.weight", np.inf), "model.embed_tokens.weight"),
    "offsets past the end": (header(lambda h: h[GATE].update(data_offsets=[10**12, 10**12 + 8192])), GATE),
    "offsets the wrong way round": (header(lambda h: h[GATE].update(data_offsets=[8192, 0])), GATE),
    "offsets that do not fit the shape": (header(lambda h: h[GATE].update(shape=[32, 65])), GATE),
    "a shape that overflows": (header(lambda h: h[GATE].update(shape=[1 << 40, 1 << 40])), GATE),
    "a type nobody knows": (header(lambda h: h[GATE].update(dtype="F7")), GATE),
    "an index that names a missing part": (
        lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {GATE: "part-9.safetensors"}}))),
        "part-9.safetensors"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json"),
    "tokenizer is no JSON": (cut("tokenizer.json", 0.4), "tokenizer.json"),
    "another kind of tokenizer": (edit_json("tokenizer.json", lambda t: t["model"].update(type="Unigram")), "tokenizer.json"),
    "merges of unknown tokens": (edit_json("tokenizer.json", lambda t: t["model"]["merges"].append(["zzzzz", "qqqqq"])), "tokenizer.json"),
    "two tokens with one id": (edit_json("tokenizer.json", lambda t: t["model"]["vocab"].update({"zzzz": 5})), "tokenizer.json"),
    "an unknown pre-tokenizer": (edit_json("tokenizer.json", lambda t: t.update(pre_tokenizer={"type": "Whitespace"})), "tokenizer.json"),
    "a template with a macro": (edit_json("tokenizer_config.json", lambda t: t.update(chat_template="a\n{% macro x() %}{% endmacro %}")), "line 2"),
    "a template that does not end": (edit_json("tokenizer_config.json", lambda t: t.update(chat_template="{% for m in messages %}")), "chat_template"),
}


def refuse(running, source, *words, options=()):
    """Refused with a message that says these words; nothing changed; the daemons go on."""
    before = sorted(path.name for path in (running.data / "shards").iterdir())
    with pytest.raises(Failed) as failure:
        running.deploy(source, "--name", "bad", *options)
    assert failure.value.code == 1
    assert "crash" not in failure.value.err and "signal" not in failure.value.err
    for word in words:
        assert word in failure.value.err, failure.value.err
    assert len(failure.value.err.strip()) > 40
    assert [model["name"] for model in running.json("list")] == ["good"]
    assert sorted(path.name for path in (running.data / "shards").iterdir()) == before
    assert list((running.data / "tmp").iterdir()) == []
    return failure.value.err


@pytest.mark.parametrize("case", FOLDERS)
def test_a_bad_folder_is_refused(running, tmp_path, case):
    folder = tmp_path / "model"
    shutil.copytree(SOURCE, folder, copy_function=shutil.copyfile)
    change, word = FOLDERS[case]
    change(folder)
    refuse(running, folder, word)


def gguf_strings(data: bytes, old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new) and data.count(old) >= 1
    return data.replace(old, new)


def test_a_bad_gguf_is_refused(running, tmp_path):
    good = GGUF.read_bytes()
    path = tmp_path / "bad.gguf"
    cases = {
        "magic": b"GGUX" + good[4:],
        "version": good[:4] + struct.pack("<I", 77) + good[8:],
        "tensor count": good[:8] + struct.pack("<Q", 1 << 60) + good[16:],
        "metadata count": good[:16] + struct.pack("<Q", 1 << 60) + good[24:],
        "a key's length": good[:24] + struct.pack("<Q", 1 << 62) + good[32:],
        "architecture": gguf_strings(good, b"qwen2moe.block_count", b"qwen9moe.block_count"),
        "a tensor's name": gguf_strings(good, b"blk.1.ffn_gate_exps.weight", b"blk.1.ffn_gate_exqs.weight"),
        "a third of it": good[: len(good) // 3],
        "all but the last bytes": good[:-100],
        "only the head": good[:24],
        "nothing": b"",
        "zeros": bytes(5000),
        "words": b"this is a letter, not a model\n" * 100,
    }
    for content in cases.values():
        path.write_bytes(content)
        refuse(running, path, "bad.gguf")


def test_a_scale_that_is_not_a_number_is_refused(running, tmp_path):
    data = bytearray(GGUF.read_bytes())
    # The last tensor's last Q8_0 block: its half-precision scale becomes NaN.
    for back in range(34, 34 * 6, 1):
        candidate = bytearray(data)
        candidate[-back : -back + 2] = b"\xff\x7f"
        path = tmp_path / "nan.gguf"
        path.write_bytes(candidate)
        try:
            running.deploy(path, "--name", "bad")
            running.run("rm", "bad")
        except Failed as failure:
            assert "nan.gguf" in failure.err
            return
    raise AssertionError("no NaN scale was found out")


def test_random_damage_never_harms_the_daemons(running, tmp_path):
    random.seed(3)
    good = GGUF.read_bytes()
    for _ in range(25):
        data = bytearray(good)
        for _ in range(random.randint(1, 8)):
            data[random.randrange(min(len(data), 20000))] = random.randrange(256)
        path = tmp_path / "fuzz.gguf"
        path.write_bytes(data)
        try:
            running.deploy(path, "--name", "fuzz")
            running.run("rm", "fuzz")
        except Failed as failure:
            assert failure.code == 1 and "fuzz" in failure.err
    assert running.run("generate", "good", "hello", "--max-tokens", "3")


def test_sources_that_cannot_be_read(running, tmp_path):
    for source, word in [(tmp_path / "absent", "absent"), (tmp_path, "config.json"), (Path("/dev/null"), "null")]:
        with pytest.raises(Failed) as failure:
            running.deploy(source, "--name", "bad")
        assert failure.value.code == 1 and word in failure.value.err


def test_options_that_do_not_fit_the_model(running):
    refuse(running, SOURCE, "context", options=("--context", "99999999"))


def test_a_full_disk_is_said_and_nothing_stays(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a small tmpfs")
    with small_disk(tmp_path / "small", 20) as small:
        with Daemon(small / "data") as daemon:
            with pytest.raises(Failed) as failure:
                daemon.deploy(NANO / "kquant-qwen2moe", "--name", "large")
            assert failure.value.code == 1 and "space" in failure.value.err.lower()
            assert daemon.json("list") == []
            assert list((small / "data/tmp").iterdir()) == []
            assert list((small / "data/shards").iterdir()) == []
            daemon.deploy(NANO / "gguf/qwen2moe.Q4_0.gguf", "--name", "fits")
            assert daemon.run("generate", "fits", "hello", "--max-tokens", "3")


def frames():
    """Things a rude peer may send to invoke.sock."""
    yield b"\x00"
    yield b"\x01"
    yield b"\x63" * 40
    yield bytes(100_000)
    yield b"\x01\x01" + b"\xff" * 60
    yield b"\x01\x01" + struct.pack("<II", 1, 0xFFFFFFFF)
    yield b"\x01\x02" + struct.pack("<III", 1, 1, 0)
    yield b"\x01\x05" + struct.pack("<II", 64, 1)
    yield b"\x01\x08" + b"\x00" * 64
    random.seed(9)
    for _ in range(200):
        yield bytes([1, random.randrange(12)]) + random.randbytes(random.randrange(80))


def connect(peer):
    """A full backlog is no failure: node takes the next connection in its own time."""
    for _ in range(500):
        try:
            return peer.connect("invoke.sock")
        except BlockingIOError:
            time.sleep(0.01)
    raise AssertionError("node takes no connection any more")


def test_a_rude_peer_on_the_invocation_socket_harms_nobody(running):
    path = running.data / "run/invoke.sock"
    node = running.daemons()["locum-node"]
    running.run("evict", "--all")
    before = len(os.listdir(f"/proc/{node}/fd"))
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        for frame in frames():
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
                peer.settimeout(5)
                connect(peer)
                try:
                    peer.send(frame)
                    peer.send(frame)
                except OSError:
                    pass
        # Descriptors that nobody asked for.
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
            connect(peer)
            socket.send_fds(peer, [b"\x01\x03\x00\x00\x00\x00"], [0] * 200)
    finally:
        os.chdir(here)
    assert running.daemons()["locum-node"] == node
    assert running.run("generate", "good", "hello", "--max-tokens", "3")
    running.run("evict", "--all")
    wait_for(lambda: len(os.listdir(f"/proc/{node}/fd")) <= before, 10, f"descriptors of node back to {before}")
