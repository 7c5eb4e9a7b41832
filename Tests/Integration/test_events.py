"""What happens, told to people: `locum events`, and request ids from a client's header to control's log."""

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from daemon import BIN, NANO, Daemon, wait_for


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("events") / "data", "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        yield daemon


def events(daemon: Daemon) -> list[dict]:
    return [json.loads(line) for line in daemon.run("events", "--json").splitlines()]


def test_a_models_life_is_told(box):
    daemon = box
    assert daemon.ask("hello", "nano")[0] == 200
    daemon.run("tenant", "create", "ada")
    key = daemon.run("key", "create", "ada").strip()
    daemon.run("key", "revoke", key[:14])
    daemon.run("tenant", "rm", "ada")
    router = next(row for row in daemon.ps() if row["runtime"] == "router")
    os.kill(router["pid"], signal.SIGKILL)
    wait_for(lambda: any(event["kind"] == "crash" for event in events(daemon)), 10, "the crash")
    daemon.run("evict", "--all")
    found = events(daemon)
    assert [event["number"] for event in found] == list(range(1, len(found) + 1))
    assert abs(found[-1]["time"] / 1000 - time.time()) < 60
    kinds = [event["kind"] for event in found]
    assert {"node", "deploy", "cold_start", "tenant", "key", "crash", "evict"} <= set(kinds)
    assert kinds.index("deploy") < kinds.index("cold_start") < kinds.index("crash") < kinds.index("evict")
    crash = next(event for event in found if event["kind"] == "crash")
    assert crash["subject"] == "nano/router" and "ended unasked" in crash["message"]
    assert any(event["message"].endswith("was ended: somebody asked for it") for event in found)
    text = daemon.run("events")
    assert "cold start" in text and "nano was deployed, revision 1" in text and key not in text
    assert len(text.splitlines()) == len(found)


def test_a_follower_sees_what_comes_and_does_not_hold_up_the_end(data):
    with Daemon(data, "--threads", "2") as daemon:
        follower = subprocess.Popen(
            [str(BIN / "locum"), "events", "-f", "--data", str(data)], stdout=subprocess.PIPE, text=True)
        try:
            assert "node" in follower.stdout.readline()
            daemon.run("tenant", "create", "ada")
            assert "tenant ada was made" in follower.stdout.readline()
            daemon.run("tenant", "rm", "ada")
            assert "tenant ada was removed" in follower.stdout.readline()
            # Daemon.stop takes two seconds at most, with the follower still there.
            daemon.stop()
            assert follower.wait(10) is not None and follower.stdout.read() == ""
        finally:
            follower.kill()


def test_a_request_is_called_in_the_log_as_its_client_called_it(box):
    daemon = box

    def ask(key: str, name: str | None) -> tuple[int, str]:
        body = json.dumps({"model": "nano", "prompt": [5, 6], "max_tokens": 2}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        request = urllib.request.Request(daemon.url + "/v1/completions", body, headers | ({"X-Request-Id": name} if name else {}))
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers["X-Request-Id"]
        except urllib.error.HTTPError as error:
            return error.code, error.headers["X-Request-Id"]

    daemon.run("tenant", "create", "bob")
    key = daemon.run("key", "create", "bob").strip()
    try:
        assert ask(key, "order-66") == (200, "order-66")
        status, made = ask(key, None)
        assert status == 200 and len(made) > 16
        # A model that cannot be served: why is for the operator, in the log, under the name that the client has.
        daemon.run("evict", "--all")
        shard = daemon.shard(daemon.json("describe", "nano")["functions"][0])
        whole = shard.read_bytes()
        os.chmod(shard, 0o600)
        shard.write_bytes(whole[:100])
        try:
            assert ask(key, "order-67") == (503, "order-67")
        finally:
            shard.write_bytes(whole)
            os.chmod(shard, 0o400)
        wait_for(lambda: any("request=order-67" in line and "bob" in line for line in daemon.errors), 5, "a line of the log")
        # Control starts the router, node says what became of it.
        told = [line for line in daemon.errors if "order-67" in line]
        assert any("locum-control" in line and "starts nano/router" in line for line in told), told
        assert any("locum-node: request=order-67 functions are refused" in line for line in told), told
        # `locum logs` has it as well, under its model and not under others.
        mine = [json.loads(line) for line in daemon.run("logs", "nano", "--json").splitlines()]
        assert [row["fields"]["request"] for row in mine if "bob" in row["message"]] == ["order-67"]
        assert "order-67" in daemon.run("logs", "order-67") and "order-66" not in daemon.run("logs", "order-67")
        assert "request=order-67" in daemon.run("logs") and "order-67" not in daemon.run("logs", "tales")
    finally:
        daemon.run("tenant", "rm", "bob")


def test_a_cold_start_is_in_both_logs_under_the_requests_that_wanted_it(data):
    """Each gets the name that its client gave; one that is none never reaches a line."""
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        follow_requests(daemon)


def follow_requests(daemon: Daemon):
    def ask(name: str, tokens: int = 3) -> int:
        body = json.dumps({"model": "nano", "prompt": [7, 8, 9], "max_tokens": tokens, "ignore_eos": True}).encode()
        headers = {"Content-Type": "application/json", "X-Request-Id": name}
        request = urllib.request.Request(daemon.url + "/v1/completions", body, headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status

    def lines(name: str, program: str) -> list[str]:
        return [line for line in daemon.errors if name in line and program in line]

    assert ask("cold-1") == 200
    wait_for(lambda: any("/L" in line for line in lines("cold-1", "locum-node")), 10, "node's lines")
    wait_for(lambda: any("/L" in line for line in lines("cold-1", "locum-control")), 10, "control's lines")
    for program, word in [("locum-control", "starts"), ("locum-node", "started")]:
        found = lines("cold-1", program)
        assert any(f"{word} nano/router" in line and "request=cold-1" in line for line in found), found
        assert any(f"{word} nano/L" in line and "request=cold-1" in line for line in found), found
    # Nothing is said of what runs already; nothing of calls.
    assert ask("warm-1") == 200
    # The router dies under an answer: that is told under its request, and so is what is started for it.
    router = next(row for row in daemon.ps() if row["runtime"] == "router")
    os.kill(router["pid"], signal.SIGKILL)
    wait_for(lambda: not any(row["pid"] == router["pid"] for row in daemon.ps()), 10, "the router's end")
    assert ask("after-1") == 200
    wait_for(lambda: any("started nano/router" in line for line in lines("after-1", "locum-node")), 10, "node's line")
    assert not lines("warm-1", "")
    # Others' words are no names.
    daemon.run("evict", "--all")
    for insane in ["two words", "a\tb", 'quote"d', "x" * 129, "request=forged MESSAGE"]:
        assert ask(insane) == 200
        assert not any(insane in line for line in daemon.errors)
    assert len([line for line in daemon.errors if "started nano/router" in line]) >= 3
