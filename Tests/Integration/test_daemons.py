"""The daemons' own lives: one per folder, killed, restarted, deep paths, ordinary users, the CLI's promises."""

import ctypes
import json
import os
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest
from daemon import BIN, NANO, TALES, Daemon, Failed, alive, children, name_of, wait_for

ASK = ("generate", "nano", "hello", "--max-tokens", "5", "--temperature", "0")


@pytest.fixture
def nano(data):
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as running:
        running.deploy(NANO / "qwen2moe", "--name", "nano")
        running.text = running.run(*ASK)
        yield running


def test_a_second_up_says_who_holds_the_folder(nano):
    second = subprocess.run(
        [str(BIN / "locum"), "up", "--data", str(nano.data), "--listen", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert str(nano.process.pid) in second.stderr and str(nano.data) in second.stderr


@pytest.mark.parametrize("which", [("locum-control",), ("locum-node",), ("locum-zygote",), ("locum-control", "locum-node")])
def test_a_killed_daemon_comes_back_with_everything_and_no_worker_stays(nano, which):
    workers = [row["pid"] for row in nano.ps()]
    assert workers
    for name in which:
        os.kill(nano.daemons()[name], signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in workers), 5, "old workers gone")

    def again():
        try:
            return nano.run(*ASK, timeout=20) == nano.text
        except Failed:
            return False

    wait_for(again, 20, "service is back")
    assert [model["name"] for model in nano.json("list")] == ["nano"]


def test_after_kill_nine_of_up_everything_ends_and_the_next_up_finds_all(data):
    first = Daemon(data, "--idle-timeout", "60s").start()
    first.deploy(NANO / "qwen2moe", "--name", "nano")
    text = first.run(*ASK)
    below = children(first.process.pid)
    assert len(below) > 5
    first.kill()
    wait_for(lambda: not any(alive(pid) for pid in below), 5, "daemons and workers gone")
    with Daemon(data) as second:
        assert second.run(*ASK) == text


def test_ctrl_c_ends_it_cleanly(data):
    daemon = Daemon(data).start()
    assert daemon.stop(signal.SIGINT) == 0


def test_a_deep_folder_works(tmp_path):
    deep = tmp_path / ("d" * 60) / ("e" * 60) / ("f" * 60)
    with Daemon(deep) as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano")
        assert daemon.run(*ASK)
        assert (deep / "run/admin.sock").exists() and (deep / "run/invoke.sock").exists()


def test_as_an_ordinary_user(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("this test changes to another user, which needs root; the whole suite run by a user covers it")
    user = 12345
    home = Path("/tmp") / f"locum-user-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, user, user)
    import shutil

    try:
        # The build may lie where another user cannot read; programs and model are copied for the user.
        shutil.copytree(BIN, home / "bin", ignore=lambda d, names: [n for n in names if not n.startswith("locum") or "." in n])
        shutil.copytree(NANO / "qwen2moe", home / "nano")
        subprocess.run(["chown", "-R", f"{user}:{user}", str(home)], check=True)
        with Daemon(home / "data", "--idle-timeout", "60s", user=user, bin=home / "bin") as daemon:
            daemon.deploy(home / "nano", "--name", "nano")
            assert daemon.run(*ASK)
            rows = daemon.ps()
            assert rows
            for row in rows:
                status = Path(f"/proc/{row['pid']}/status").read_text()
                assert "CapEff:\t0000000000000000" in status and "Seccomp:\t2" in status
                assert os.readlink(f"/proc/{row['pid']}/ns/user") != os.readlink("/proc/self/ns/user")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_exit_codes(nano, tmp_path):
    for arguments, code in [
        (("describe", "nobody"), 3), (("generate", "nobody", "x"), 3), (("rm", "nobody"), 3), (("evict", "nobody"), 3),
        (("deploy", "/no/such/file"), 1), (("generate",), 64), (("deploy", str(TALES), "--kv-type", "f8"), 64),
        (("nonsense",), 64), (("invoke", "nano/L99-E000"), 3),
    ]:
        with pytest.raises(Failed) as failure:
            nano.run(*arguments, input="")
        assert failure.value.code == code, (arguments, failure.value.err)
        assert failure.value.err.strip()
    with pytest.raises(Failed) as failure:
        Daemon(tmp_path / "nowhere").run("list")
    assert failure.value.code == 4


def test_the_interface_that_scripts_rely_on(nano):
    rows = nano.ps()
    assert {"function", "model", "runtime", "state", "pid", "private_bytes", "shard_resident_bytes", "age_seconds", "invocations"} <= set(rows[0])
    model = nano.json("describe", "nano")
    assert {"parameters", "architecture", "bytes", "functions", "revision"} <= set(model)
    assert len(model["functions"]) == 65 and all("digest" in function for function in model["functions"])
    status = nano.status()
    assert {"cold_starts", "warm_acquisitions", "invocations", "evictions", "crashes", "cold_start_us", "sandbox"} <= set(status)
    assert {"p50", "p99"} <= set(status["cold_start_us"])
    result = nano.json("generate", "nano", "hello", "--max-tokens", "4", "--temperature", "0")
    assert {"text", "prompt_tokens", "completion_tokens", "first_token_ms", "tokens_per_second", "finish_reason"} <= set(result)
    assert result["completion_tokens"] == 4
    nano.run("evict", "--all")
    assert nano.ps() == []
    assert "ok" in nano.run("verify").lower()
    nano.run("rm", "nano")
    assert nano.json("list") == []
    wait_for(lambda: list((nano.data / "shards").iterdir()) == [], 5, "shards removed")


def test_an_expert_answers_by_hand(nano):
    """The same row twice gives the same answer; another row another one; as text and raw."""
    import struct

    row = [((i * 7) % 13 - 6) / 5 for i in range(64)]
    text = " ".join(map(str, row))
    out = nano.run("invoke", "nano/L00-E003", input=f"{text}\n{text}\n" + " ".join(["0.5"] * 64) + "\n").splitlines()
    assert len(out) == 3 and out[0] == out[1] != out[2]
    raw = nano.run("invoke", "nano/L00-E003", "--raw", input=struct.pack("<64f", *row))
    assert list(struct.unpack("<64f", raw)) == [struct.unpack("<f", struct.pack("<f", float(x)))[0] for x in out[0].split()]
    # Against the plain arithmetic on the model's own weights.
    import numpy as np
    from safetensors.numpy import load_file

    weights = load_file(str(NANO / "qwen2moe/model.safetensors"))
    x = np.array(row, dtype=np.float64)
    gate, up, down = (weights[f"model.layers.0.mlp.experts.3.{k}_proj.weight"].astype(np.float64) for k in ("gate", "up", "down"))
    g = gate @ x
    want = down @ (g / (1 + np.exp(-g)) * (up @ x))
    assert np.allclose([float(v) for v in out[0].split()], want, rtol=1e-4, atol=1e-6)


def test_identical_bytes_write_nothing_and_one_new_expert_writes_one_shard(nano, tmp_path):
    import shutil

    import numpy as np
    from safetensors.numpy import load_file, save_file

    def files():
        return {path.name: path.stat().st_mtime_ns for path in (nano.data / "shards").iterdir()}

    row = " ".join(["0.5"] * 64) + "\n"
    answers = {name: nano.run("invoke", name, input=row) for name in ("nano/L02-E005", "nano/L02-E006")}
    before = files()
    assert nano.deploy(NANO / "qwen2moe", "--name", "nano")["shards_written"] == 0
    assert files() == before
    changed = tmp_path / "changed"
    shutil.copytree(NANO / "qwen2moe", changed)
    os.chmod(changed / "model.safetensors", 0o644)
    weights = load_file(str(changed / "model.safetensors"))
    weights["model.layers.2.mlp.experts.5.up_proj.weight"] = weights["model.layers.2.mlp.experts.5.up_proj.weight"] * np.float32(1.5)
    save_file(weights, str(changed / "model.safetensors"))
    result = nano.deploy(changed, "--name", "nano")
    assert result["shards_written"] == 1
    assert len(set(files()) - set(before)) == 1
    assert nano.run("invoke", "nano/L02-E005", input=row) != answers["nano/L02-E005"]
    assert nano.run("invoke", "nano/L02-E006", input=row) == answers["nano/L02-E006"]


def test_killed_during_a_deployment_the_old_state_stays_and_no_orphan(data):
    daemon = Daemon(data).start()
    daemon.deploy(NANO / "qwen2moe", "--name", "nano")
    before = sorted(path.name for path in (data / "shards").iterdir())
    for delay in (0.02, 0.06, 0.12, 0.25, 0.4):
        cli = subprocess.Popen(
            [str(BIN / "locum"), "deploy", str(TALES), "--name", "tales", "--data", str(data)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        daemon.kill()
        cli.wait(20)
        daemon = Daemon(data).start()
        names = [model["name"] for model in daemon.json("list")]
        assert "nano" in names
        if names == ["nano"]:
            # Orphans are collected in slices, beside the first requests.
            wait_for(
                lambda: sorted(path.name for path in (data / "shards").iterdir()) == before, 10, "orphans collected")
        assert list((data / "tmp").iterdir()) == []
        if "tales" in names:
            daemon.run("rm", "tales")
    assert daemon.run(*ASK)
    assert daemon.stop() == 0


def test_a_shard_that_was_altered_is_found_by_verify(nano):
    shard = max((nano.data / "shards").iterdir(), key=lambda path: path.stat().st_size)
    os.chmod(shard, 0o600)
    with open(shard, "r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(Failed) as failure:
        nano.run("verify")
    assert failure.value.code == 1 and shard.name[:12] in failure.value.out + failure.value.err


def test_node_asks_for_short_turns_and_its_children_do_not(nano):
    """Its word is waited for while all cores compute; a turn of 0.1 ms comes sooner (Linux 6.12)."""
    daemons = nano.daemons()
    assert turn(daemons["locum-zygote"]) != 100_000
    if tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (6, 12):
        pytest.skip("this kernel has no turns of a wished length; Linux 6.12 has")
    assert turn(daemons["locum-node"]) == 100_000


def turn(pid: int) -> int:
    """What sched_getattr(2) has as the thread's runtime, in ns."""
    attributes = ctypes.create_string_buffer(48)
    number = {"x86_64": 315, "aarch64": 275}[os.uname().machine]
    assert ctypes.CDLL(None, use_errno=True).syscall(number, pid, attributes, 48, 0) == 0
    return struct.unpack_from("IIQiIQQQ", attributes)[5]
