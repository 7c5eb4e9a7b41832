"""What an earlier Locum has deployed: shards of an earlier layout are never misread, and `locum verify --repair` and
`locum restore` rewrite them."""

import json
import sqlite3

import pytest
from daemon import NANO, Daemon, Failed
from older import OLDER, digest, older

GROUPS = ("--experts-per-function", "all", "--layers-per-function", "all")


def shards(daemon: Daemon, model: str = "m") -> list[str]:
    return [function["digest"] for function in daemon.json("describe", model)["functions"]]


def sign(registry: sqlite3.Connection, model: str):
    """The registry's checksum over a model's rows (SQLiteRegistry+Schema.swift)."""
    registry.row_factory = sqlite3.Row
    rows = registry.execute("SELECT * FROM models WHERE name = ?", (model,)).fetchall()
    rows += registry.execute("SELECT * FROM functions WHERE model = ? ORDER BY position", (model,)).fetchall()
    sum = 0xCBF29CE484222325
    for row in rows:
        for column in row.keys():
            value = row[column]
            if column == "checksum":
                continue
            text = value if isinstance(value, bytes) else b"" if value is None else str(value).encode()
            for byte in bytes([{type(None): 0, int: 1, str: 3, bytes: 4}[type(value)]]) + text + b"\xff":
                sum = (sum ^ byte) * 0x100000001B3 % 2**64
    registry.execute(
        "UPDATE models SET checksum = ? WHERE name = ?", (sum - 2**64 if sum >= 2**63 else sum, model))


def age(daemon: Daemon, name: str, model: str = "m"):
    """Makes the store of a daemon that is down what the Locum before had written."""
    registry = sqlite3.connect(daemon.data / "registry.sqlite")
    rows = registry.execute("SELECT digest FROM functions WHERE model = ? ORDER BY position", (model,)).fetchall()
    made = []
    for (now,) in rows:
        file = daemon.data / "shards" / now.hex()
        before = older(file.read_bytes())
        made.append(digest(before))
        (file.parent / made[-1]).write_bytes(before)
        file.unlink()
        registry.execute("UPDATE functions SET digest = ? WHERE digest = ?", (bytes.fromhex(made[-1]), now))
    sign(registry, model)
    registry.commit()
    registry.close()
    assert tuple(made) == OLDER[name]


@pytest.mark.parametrize("name", OLDER)
def test_shards_of_an_earlier_layout_are_refused_and_rewritten(name, tmp_path):
    daemon = Daemon(tmp_path / "data", "--threads", "2", "--idle-timeout", "60s")
    with daemon.start():
        daemon.deploy(NANO / f"gguf/{name}.gguf", "--name", "m", *GROUPS)
        right, today = daemon.ask("hello", "m", tokens=8), shards(daemon)
        assert right[0] == 200
    age(daemon, name)
    with daemon.start():
        status, message = daemon.ask("hello", "m")
        assert status >= 500 and "locum verify" in message, (status, message)
        with pytest.raises(Failed) as failure:
            daemon.run("verify")
        assert "older: 2 shards of m" in failure.value.out and "locum verify --repair" in failure.value.out
        daemon.run("backup", str(tmp_path / "older.tar"))
        text = daemon.run("verify", "--repair")
        assert "rewrote the shards of m" in text and "2 of 2 shards ok" in text
        assert shards(daemon) == today and daemon.ask("hello", "m", tokens=8) == right
        assert sorted(file.name for file in (daemon.data / "shards").iterdir()) == sorted(today)
        assert json.loads(daemon.run("verify", "--repair", "--json"))["older"] == []
    with Daemon(tmp_path / "other", "--threads", "2", "--idle-timeout", "60s") as other:
        other.run("restore", str(tmp_path / "older.tar"))
        assert shards(other) == today and other.ask("hello", "m", tokens=8) == right


def test_a_damaged_shard_of_an_earlier_layout_is_not_rewritten(tmp_path):
    name = "qwen2moe.Q4_0"
    daemon = Daemon(tmp_path / "data", "--threads", "2")
    with daemon.start():
        daemon.deploy(NANO / f"gguf/{name}.gguf", "--name", "m", *GROUPS)
    age(daemon, name)
    file = daemon.data / "shards" / OLDER[name][1]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with daemon.start():
        with pytest.raises(Failed) as failure:
            daemon.run("verify", "--repair")
        assert "damaged: " + OLDER[name][1] in failure.value.out and "deploy" in failure.value.out
        assert "rewrote" not in failure.value.out
        daemon.deploy(NANO / f"gguf/{name}.gguf", "--name", "m", *GROUPS)
        assert "2 of 2 shards ok" in daemon.run("verify") and daemon.ask("hello", "m")[0] == 200
