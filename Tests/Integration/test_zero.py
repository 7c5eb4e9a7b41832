"""Idle means zero: no worker, no resident weights; and the next request works, again and again."""

import json
import time
import urllib.request

from daemon import TALES, Daemon, wait_for
from observer import resident_bytes


def test_after_the_idle_time_nothing_runs_and_the_pages_are_gone(data):
    with Daemon(data, "--idle-timeout", "1s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        assert daemon.ps() == []
        daemon.run("generate", "tales", "Once upon a time", "--max-tokens", "20", "--seed", "1")
        assert len(daemon.ps()) > 6 and len(daemon.workers()) > 6
        assert resident_bytes(data / "shards") > 1 << 20
        wait_for(lambda: daemon.ps() == [], 10, "locum ps is empty")
        assert daemon.workers() == []
        wait_for(lambda: resident_bytes(data / "shards") == 0, 5, "shard pages let go")
        assert daemon.status()["evictions"] > 6


def test_a_hundred_cycles_from_zero_to_zero_fail_nothing(data):
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        client = daemon.client()
        texts = set()
        for _ in range(100):
            answer = client.completions.create(model="tales", prompt="The king said", max_tokens=4, temperature=0)
            texts.add(answer.choices[0].text)
            daemon.run("evict", "--all")
            assert daemon.workers() == []
        assert len(texts) == 1
        status = daemon.status()
        assert status["crashes"] == 0
        assert status["cold_starts"] >= 100 * 7


def test_requests_that_meet_the_idle_eviction_do_not_fail(data):
    """Requests spaced around a short idle time, so that many arrive while instances are leaving."""
    with Daemon(data, "--idle-timeout", "100ms", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        client = daemon.client()
        texts = set()
        for i in range(60):
            texts.add(client.completions.create(model="tales", prompt="The king said", max_tokens=4, temperature=0).choices[0].text)
            time.sleep(0.08 + (i % 10) * 0.015)
        assert len(texts) == 1


def test_a_first_token_from_zero_says_where_its_time_went(data):
    """In the response's head, whole or streamed, and in `locum describe`; the parts are the time that the client waits."""
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        body = {"model": "tales", "prompt": "Once upon a time", "max_tokens": 1, "temperature": 0}

        def parts(stream: bool) -> tuple[dict[str, float], float]:
            request = urllib.request.Request(
                daemon.url + "/v1/completions", data=json.dumps({**body, "stream": stream}).encode(),
                headers={"Content-Type": "application/json"})
            begin = time.perf_counter()
            with urllib.request.urlopen(request) as answer:
                waited = (time.perf_counter() - begin) * 1000
                fields = dict(part.split(";dur=") for part in answer.headers["Server-Timing"].split(", "))
            assert list(fields) == ["queue", "spawn", "map", "read", "compute"]
            return {name: float(value) for name, value in fields.items()}, waited

        for stream in (False, True):
            cold, waited = parts(stream)
            assert min(cold["spawn"], cold["map"], cold["read"], cold["compute"]) > 0, cold
            assert 0.5 * waited - 5 < sum(cold.values()) <= waited + 1, (cold, waited)
            told = daemon.json("describe", "tales")["first_token"]
            assert all(abs(told[f"{name}_ms"] - value) < 0.2 for name, value in cold.items()), (told, cold)
            assert "spawning" in daemon.run("describe", "tales")
            warm, _ = parts(stream)
            assert warm["spawn"] == warm["map"] == warm["read"] == 0 < warm["compute"], warm
            daemon.run("evict", "--all")
