"""Backups while models are called and deployed, and what becomes of a registry that was damaged from outside."""

import hashlib
import os
import re
import sqlite3
import subprocess
import tarfile
import threading

import pytest
from daemon import BIN, NANO, TALES, Daemon, Failed, wait_for

PROMPTS = ("Once upon a time", "The old king")
GROUPS = ("--experts-per-function", "all")


def answers(daemon: Daemon) -> list:
    return [daemon.ask(prompt, "tales") for prompt in PROMPTS] + [daemon.ask("hello", "nano")]


def digests(daemon: Daemon, model: str) -> list[str]:
    return [function["digest"] for function in daemon.json("describe", model)["functions"]]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A backup that was made while clients asked and a third model came and went; and what was answered."""
    folder = tmp_path_factory.mktemp("backup")
    with Daemon(folder / "data", "--threads", "2", "--idle-timeout", "60s") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", *GROUPS)
        right = answers(daemon)
        assert [status for status, _ in right] == [200] * 3
        ended, wrong = threading.Event(), []

        def ask():
            while not ended.is_set():
                if daemon.ask(PROMPTS[0], "tales") != right[0]:
                    wrong.append("another answer")

        def deploy():
            while not ended.is_set():
                daemon.deploy(NANO / "gguf/qwen2moe.Q4_0.gguf", "--name", "guest", *GROUPS)
                daemon.run("rm", "guest")

        threads = [threading.Thread(target=ask), threading.Thread(target=ask), threading.Thread(target=deploy)]
        for thread in threads:
            thread.start()
        reports = []
        for number in range(3):
            reports.append(daemon.json("backup", str(folder / f"backup-{number}.tar")))
        ended.set()
        for thread in threads:
            thread.join()
        assert not wrong
        for report in reports:
            assert {"tales", "nano"} <= set(report["models"]) <= {"tales", "nano", "guest"}
            with tarfile.open(report["file"]) as tar:
                names = tar.getnames()
                assert names[0].startswith("locum-backup-") and len(names) == report["shards"] + 2
                assert names[-1].startswith("usage/") and names[-1].endswith(".jsonl")
                for name in names[1:]:
                    digest = name.removeprefix("shards/").removeprefix("usage/").removesuffix(".jsonl")
                    assert hashlib.sha256(tar.extractfile(name).read()).hexdigest() == digest
        with pytest.raises(Failed) as failure:
            daemon.run("backup", reports[0]["file"])
        assert "is there already" in failure.value.err
        file = folder / "last.tar"
        daemon.run("backup", str(file))
        assert not list(folder.glob("*.partial"))
        yield file, right, {model: digests(daemon, model) for model in ("tales", "nano")}


def test_a_backup_restored_into_an_empty_folder_answers_alike(made, data):
    file, right, shards = made
    with Daemon(data, "--threads", "2", "--idle-timeout", "60s") as daemon:
        with pytest.raises(Failed) as failure:
            daemon.run("restore", str(file), "nobody")
        assert failure.value.code == 3
        assert len(daemon.json("restore", str(file))) == 2
        assert answers(daemon) == right
        assert {model: digests(daemon, model) for model in shards} == shards
        assert "ok" in daemon.run("verify")
        # It is the same deployment: nothing is left to do for the source that it came from, or the backup.
        assert daemon.deploy(NANO / "qwen2moe", "--name", "nano", *GROUPS)["revision"] == 1
        assert daemon.json("restore", str(file), "tales")[0]["shards_written"] == 0
        # What was changed since is as it was.
        daemon.deploy(NANO / "gguf/qwen2moe.Q4_0.gguf", "--name", "nano", *GROUPS)
        assert digests(daemon, "nano") != shards["nano"]
        daemon.run("restore", str(file), "nano")
        assert digests(daemon, "nano") == shards["nano"] and answers(daemon) == right


def test_what_was_used_comes_back_and_counts_once(tmp_path):
    def used(daemon: Daemon) -> dict:
        return {(row["tenant"], row["model"], row["key"]): row for row in daemon.json("usage")}

    file = tmp_path / "backup.tar"
    with Daemon(tmp_path / "first", "--threads", "2", "--idle-timeout", "60s") as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", *GROUPS)
        assert daemon.ask("hello", "nano")[0] == 200
        ended = threading.Event()

        def ask():
            while not ended.is_set():
                assert daemon.ask("hello", "nano")[0] == 200

        thread = threading.Thread(target=ask)
        thread.start()
        before = used(daemon)
        try:
            daemon.run("backup", str(file))
        finally:
            ended.set()
            thread.join()
        after = used(daemon)
        # Into the same box: nothing is lost of what came since, and nothing counts twice.
        for _ in range(2):
            daemon.run("restore", str(file), "nano", "--usage")
        again = used(daemon)[("", "nano", "")]
        assert all(again[name] == value for name, value in after[("", "nano", "")].items() if name != "mb_seconds")
    with Daemon(tmp_path / "second", "--threads", "2") as daemon:
        assert "what was used, see --usage" in daemon.run("restore", str(file))
        assert used(daemon) == {}
        for _ in range(2):
            # Two when an hour ended meanwhile.
            assert re.search("restored what was used: [12] row", daemon.run("restore", str(file), "--usage"))
        row, first, last = (found[("", "nano", "")] for found in (used(daemon), before, after))
        for name in ("requests", "prompt_tokens", "output_tokens", "expert_ms", "mb_seconds"):
            assert first[name] <= row[name] <= last[name] and row[name] > 0, (name, first, row, last)
        # What is there then is added to.
        assert daemon.ask("hello", "nano")[0] == 200
        assert used(daemon)[("", "nano", "")]["requests"] == row["requests"] + 1


def test_damaged_usage_is_refused_and_nothing_of_it_taken(made, data, tmp_path):
    file, _, _ = made
    bad = tmp_path / "bad.tar"
    with tarfile.open(file) as tar:
        at = tar.getmember(tar.getnames()[-1]).offset_data
    whole = file.read_bytes()
    bad.write_bytes(whole[: at + 20] + bytes([whole[at + 20] ^ 1]) + whole[at + 21 :])
    with Daemon(data) as daemon:
        with pytest.raises(Failed) as failure:
            daemon.run("restore", str(bad), "--usage")
        assert "what was used does not have the bytes of its name" in failure.value.err
        assert daemon.json("usage") == [] and daemon.json("list") == []


@pytest.mark.parametrize("damage", ["shard", "list", "cut"])
def test_a_damaged_backup_is_refused_by_name_and_leaves_nothing(made, data, tmp_path, damage):
    file, _, _ = made
    bad = tmp_path / "bad.tar"
    whole = file.read_bytes()
    at = {"shard": len(whole) - 40_000, "list": 700, "cut": len(whole) // 2}[damage]
    bad.write_bytes(whole[:at] if damage == "cut" else whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with Daemon(data) as daemon:
        with pytest.raises(Failed) as failure:
            daemon.run("restore", str(bad))
        assert failure.value.code == 1 and "bad.tar" in failure.value.err, failure.value.err
        listed = {model["name"] for model in daemon.json("list")}
        assert len(listed) < 2
        wanted = {digest for model in listed for digest in digests(daemon, model)}
        wait_for(lambda: {path.name for path in (data / "shards").iterdir()} == wanted, 5, "no orphan")
        assert list((data / "tmp").iterdir()) == []


def test_a_registry_damaged_from_outside_is_refused_and_repaired(data):
    with Daemon(data) as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "hurt", *GROUPS)
        daemon.deploy(NANO / "gguf/qwen2moe.Q4_0.gguf", "--name", "well", *GROUPS)
        daemon.deploy(NANO / "gguf/qwen2moe.Q8_0.gguf", "--name", "cut", *GROUPS)
        right = daemon.ask("hello", "well")
        hurt, cut = digests(daemon, "hurt")[1], digests(daemon, "cut")[1]
        before = daemon.run("list")
        with pytest.raises(Failed) as failure:
            daemon.run("repair")
        assert failure.value.code == 1 and "another locum-control" in failure.value.err
    assert "nothing was changed" in daemon.run("repair")
    registry = data / "registry.sqlite"
    whole = registry.read_bytes()
    at = whole.index(bytes.fromhex(hurt)) + 5
    registry.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    os.chmod(data / "shards" / cut, 0o600)
    os.truncate(data / "shards" / cut, 4096)
    shards = {path.name for path in (data / "shards").iterdir()}
    refused = subprocess.run(
        [str(BIN / "locum"), "up", "--data", str(data), "--listen", "127.0.0.1:0"], capture_output=True, text=True,
        timeout=20)
    assert refused.returncode == 1
    assert str(registry) in refused.stderr and "locum repair" in refused.stderr
    # Nobody took the registry's word for which shards are needed.
    assert {path.name for path in (data / "shards").iterdir()} == shards
    report = daemon.json("repair")
    assert report["saved"] == ["well"] and {loss["model"] for loss in report["lost"]} == {"hurt", "cut"}
    assert report["aside"] == f"{registry}.damaged-1"
    with Daemon(data) as daemon:
        assert [model["name"] for model in daemon.json("list")] == ["well"]
        assert daemon.ask("hello", "well") == right
        daemon.deploy(NANO / "qwen2moe", "--name", "hurt", *GROUPS)
        daemon.deploy(NANO / "gguf/qwen2moe.Q8_0.gguf", "--name", "cut", *GROUPS)
        assert len(daemon.run("list").splitlines()) == len(before.splitlines())
        assert "ok" in daemon.run("verify")


def test_a_newer_registry_is_refused_by_name_and_number(data):
    with Daemon(data) as daemon:
        daemon.deploy(NANO / "gguf/qwen2moe.Q4_0.gguf", "--name", "nano", *GROUPS)
    registry = sqlite3.connect(data / "registry.sqlite")
    registry.execute("PRAGMA user_version = 41")
    registry.close()
    refused = subprocess.run(
        [str(BIN / "locum"), "up", "--data", str(data), "--listen", "127.0.0.1:0"], capture_output=True, text=True,
        timeout=20)
    assert refused.returncode == 1
    assert str(data / "registry.sqlite") in refused.stderr and "41" in refused.stderr
