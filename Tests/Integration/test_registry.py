"""A disk that is full to the last byte: models can still be removed, and that makes room."""

import os

import pytest
from daemon import NANO, Daemon, Failed, small_disk, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a small tmpfs")


@pytest.fixture
def small(tmp_path):
    with small_disk(tmp_path / "small", 20) as folder:
        yield folder


def fill(path):
    with open(path, "ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass


@pytest.mark.parametrize("restarted", [False, True], ids=["running", "restarted"])
def test_on_a_full_disk_a_model_can_be_removed_and_then_another_deployed(small, restarted):
    source = NANO / "gguf/qwen2moe.Q4_0.gguf"
    daemon = Daemon(small / "data").start()
    try:
        daemon.deploy(source, "--name", "first")
        if restarted:
            assert daemon.stop() == 0
        fill(small / "filling")
        assert os.statvfs(small).f_bfree == 0
        if restarted:
            daemon.start()
        with pytest.raises(Failed) as failure:
            daemon.deploy(NANO / "qwen2moe", "--name", "second")
        assert "space" in failure.value.err.lower()
        assert daemon.run("rm", "first") == "removed first\n"
        assert daemon.json("list") == []
        wait_for(lambda: list((small / "data/shards").iterdir()) == [], 5, "shards removed")
        os.unlink(small / "filling")
        daemon.deploy(source, "--name", "second")
        assert daemon.run("generate", "second", "hello", "--max-tokens", "3")
        assert (small / "data/registry.sqlite-reserve").stat().st_blocks * 512 > 256 << 10
    finally:
        assert daemon.stop() == 0


def test_at_a_clean_end_the_registry_is_one_file_that_only_its_owner_reads(data):
    before = os.umask(0o022)
    try:
        with Daemon(data) as daemon:
            daemon.deploy(NANO / "gguf/qwen2moe.Q4_0.gguf", "--name", "nano")
            for path in data.glob("registry.sqlite*"):
                assert path.stat().st_mode & 0o777 == 0o600, path
    finally:
        os.umask(before)
    assert sorted(path.name for path in data.glob("registry.sqlite*")) == ["registry.sqlite", "registry.sqlite-reserve"]
