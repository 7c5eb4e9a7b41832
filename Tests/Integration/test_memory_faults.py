"""Disks that fail: unreadable, slow, cut off, altered, full. A clear error where one is due, everybody else unharmed,
and the model well again when the disk is."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from badfs import BadFolder
from daemon import NANO, TALES, Daemon, Failed, small_disk

PROMPTS = ("Once upon a time", "A fox", "The old king", "Winter came")


class Prepared:
    """A data folder with two models; for each prompt what it answers and the expert functions that it calls."""

    def __init__(self, data: Path):
        self.data = data
        self.answers: dict[str, str] = {}
        used: dict[str, set[str]] = {}
        with Daemon(data, "--threads", "2", "--idle-timeout", "60s") as daemon:
            daemon.deploy(TALES, "--name", "tales")
            daemon.deploy(NANO / "qwen2moe", "--name", "nano")
            self.digests = {f["name"]: f["digest"] for f in daemon.json("describe", "tales")["functions"]}
            for prompt in PROMPTS:
                daemon.run("evict", "--all")
                status, self.answers[prompt] = daemon.ask(prompt)
                assert status == 200
                experts = [row for row in daemon.ps() if row["runtime"] == "expert"]
                used[prompt] = {row["function"] for row in experts if row["invocations"]}
            status, self.nano = daemon.ask("hello", "nano")
            assert status == 200
        # An expert that one prompt needs and another does not.
        self.hurt, self.spared = PROMPTS[0], PROMPTS[1]
        only = sorted(used[self.hurt] - used[self.spared])
        assert only, "the prompts need other experts"
        self.function = only[len(only) // 2]
        self.digest = self.digests[self.function]

    @property
    def shard(self) -> Path:
        return self.data / "shards" / self.digest

    def others_are_well(self, daemon: Daemon):
        assert daemon.ask("hello", "nano") == (200, self.nano)
        assert daemon.ask(self.spared) == (200, self.answers[self.spared])

    def all_is_well(self, daemon: Daemon):
        self.others_are_well(daemon)
        assert daemon.ask(self.hurt) == (200, self.answers[self.hurt])

    def is_said_clearly(self, answer: tuple[int, str]):
        """A server's error that names what failed and what to do."""
        status, message = answer
        assert 500 <= status < 600, answer
        assert self.digest in message or self.function in message, f"it does not name {self.function}: {message}"
        assert "locum verify" in message, message


@pytest.fixture
def prepared(tmp_path) -> Prepared:
    return Prepared(tmp_path / "data")


@pytest.fixture
def bad(prepared):
    """The shards' folder through a file system with faults, and a daemon on it."""
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse: mounts a file system of its own")
    with BadFolder(prepared.data / "shards") as folder:
        with Daemon(prepared.data, "--threads", "2", "--idle-timeout", "60s") as daemon:
            yield folder, daemon


def no_start_without_a_call(daemon: Daemon, seconds: float = 2):
    before = daemon.status()
    time.sleep(seconds)
    after = daemon.status()
    assert after["cold_starts"] == before["cold_starts"] and after["crashes"] == before["crashes"], "a crash loop"


@pytest.mark.parametrize("part", ("all of it", "from the middle on"))
def test_an_expert_whose_shard_cannot_be_read_is_an_error_and_the_others_go_on(prepared, bad, part):
    """EIO for reads of one shard; when the fault is gone the model answers as before."""
    folder, daemon = bad
    prepared.all_is_well(daemon)
    daemon.run("evict", "--all")
    folder.eio(prepared.digest, 0 if part == "all of it" else prepared.shard.stat().st_size // 2)
    answers = []
    for _ in range(3):
        answers.append(daemon.ask(prepared.hurt))
        prepared.others_are_well(daemon)
    assert folder.reads(prepared.digest) > 0, "nobody read it: the fault was not tried"
    no_start_without_a_call(daemon)
    assert any(prepared.digest in line for line in daemon.errors), "the log does not name the shard"
    folder.clear()
    prepared.all_is_well(daemon)
    for answer in answers:
        prepared.is_said_clearly(answer)


@pytest.mark.parametrize("part", ("all of it", "from the middle on"))
def test_an_expert_that_cannot_be_read_leaves_the_other_sequences_of_a_batch_alone(prepared, bad, part):
    """The disk fails while others, who do not need that expert, are being served by the same router."""
    folder, daemon = bad
    folder.eio(prepared.digest, 0 if part == "all of it" else prepared.shard.stat().st_size // 2)
    answers: dict[int, tuple[int, str]] = {}

    def client(i: int):
        answers[i] = daemon.ask(prepared.spared if i % 2 else prepared.hurt)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in (1, 3, 5):
        assert answers[i] == (200, prepared.answers[prepared.spared])
    for i in (0, 2, 4):
        prepared.is_said_clearly(answers[i])


def test_a_disk_that_stalls_delays_and_loses_nothing(prepared, bad):
    """Five seconds for the reads of one shard: its caller waits, gets its answer, and another model is not kept."""
    folder, daemon = bad
    assert daemon.ask("hello", "nano") == (200, prepared.nano)
    folder.stall(prepared.digest, 5)
    got: list[tuple[int, str]] = []
    begin = time.monotonic()
    waiting = threading.Thread(target=lambda: got.append(daemon.ask(prepared.hurt)))
    waiting.start()
    time.sleep(1.5)
    asked = time.monotonic()
    assert daemon.ask("hello", "nano") == (200, prepared.nano)
    assert time.monotonic() - asked < 2, "another model waited for this one's disk"
    waiting.join()
    assert got == [(200, prepared.answers[prepared.hurt])]
    assert folder.reads(prepared.digest) > 0 and time.monotonic() - begin > 4.5, "nothing stalled"
    assert daemon.status()["crashes"] == 0
    folder.clear()
    prepared.all_is_well(daemon)


@pytest.mark.parametrize("left", (0, 4096))
def test_a_shard_cut_off_while_it_is_mapped_is_an_error_that_verify_explains(prepared, left):
    """To nothing, and to its first page; the workers have it mapped and resident."""
    with Daemon(prepared.data, "--threads", "2", "--idle-timeout", "60s") as daemon:
        prepared.all_is_well(daemon)
        prepared.shard.chmod(0o600)
        os.truncate(prepared.shard, left)
        answers = [daemon.ask(prepared.hurt) for _ in range(3)]
        prepared.others_are_well(daemon)
        no_start_without_a_call(daemon)
        crashes = daemon.status()["crashes"]
        with pytest.raises(Failed) as damaged:
            daemon.run("verify")
        assert prepared.digest in damaged.value.out and prepared.function in damaged.value.out
        # As the message says: a deployment writes it anew.
        daemon.deploy(TALES, "--name", "tales")
        prepared.all_is_well(daemon)
        daemon.run("verify")
        # A few tries of each of the three requests.
        assert crashes <= 12, f"a crash loop: {crashes} processes for three requests"
        for answer in answers:
            prepared.is_said_clearly(answer)


def test_a_shard_altered_on_disk_is_named_by_verify_and_written_anew_by_a_deployment(prepared):
    with Daemon(prepared.data, "--threads", "2", "--idle-timeout", "60s") as daemon:
        daemon.run("verify")
        prepared.shard.chmod(0o600)
        with open(prepared.shard, "r+b") as file:
            file.seek(prepared.shard.stat().st_size // 2)
            byte = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 0x10]))
        with pytest.raises(Failed) as damaged:
            daemon.run("verify", "--json")
        assert damaged.value.code == 1
        report = json.loads(damaged.value.out)["damaged"]
        assert [row["digest"] for row in report] == [prepared.digest]
        assert report[0]["functions"] == [prepared.function]
        prepared.others_are_well(daemon)
        # No worker starts from it, whoever asks.
        status, message = daemon.ask(prepared.hurt)
        assert 500 <= status < 600 and "deploy" in message, message
        daemon.deploy(TALES, "--name", "tales")
        daemon.run("verify")
        prepared.all_is_well(daemon)


def test_a_disk_that_fills_up_while_deploying_harms_no_model_that_was_there(tmp_path):
    """The error has the numbers, nothing half-deployed stays, and there is room again afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a small tmpfs")
    with small_disk(tmp_path / "small", 40) as small:
        with Daemon(small / "data", "--threads", "2", "--idle-timeout", "60s") as daemon:
            daemon.deploy(NANO / "qwen2moe", "--name", "nano")
            before = daemon.ask("hello", "nano")
            shards = sorted(path.name for path in (small / "data/shards").iterdir())
            stop = threading.Event()
            during: list[tuple[int, str]] = []

            def keep_asking():
                while not stop.is_set():
                    during.append(daemon.ask("hello", "nano"))

            client = threading.Thread(target=keep_asking)
            client.start()
            try:
                with pytest.raises(Failed) as failure:
                    daemon.deploy(TALES, "--name", "tales")
            finally:
                stop.set()
                client.join()
            assert failure.value.code == 1
            assert "bytes are free" in failure.value.err and "--data" in failure.value.err, failure.value.err
            assert during and set(during) == {before} and before[0] == 200
            assert [row["name"] for row in daemon.json("list")] == ["nano"]
            assert list((small / "data/tmp").iterdir()) == []
            assert sorted(path.name for path in (small / "data/shards").iterdir()) == shards, "half a model stays"
            assert daemon.ask("A fox")[0] == 404
