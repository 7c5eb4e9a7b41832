"""To zero and back: no request fails however many meet a sleeping model or one that is falling asleep, and the host
gets its memory back. LOCUM_LONG=1 runs a thousand cycles."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from daemon import TALES, Daemon, wait_for
from observer import PageCache, available_bytes, resident_bytes

LONG = os.environ.get("LOCUM_LONG") == "1"


def ask(daemon: Daemon, tokens: int = 1) -> tuple[int, str]:
    return daemon.ask("The king said", tokens=tokens, timeout=120)


def test_cycles_from_zero_to_one_and_back_fail_nothing(data):
    """A thousand with LOCUM_LONG, sixty otherwise; at four experts per function to start fewer processes in each."""
    cycles = 1000 if LONG else 60
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales", "--experts-per-function", "4")
        failed, texts = [], set()
        for cycle in range(cycles):
            status, text = ask(daemon, 3)
            if status != 200:
                failed.append((cycle, status, text))
            texts.add(text)
            daemon.run("evict", "--all")
            assert daemon.workers() == [] and daemon.ps() == []
        assert not failed, f"{len(failed)} of {cycles} failed, the first: {failed[0]}"
        assert len(texts) == 1
        status = daemon.status()
        assert status["crashes"] == 0 and status["cold_starts"] >= cycles * 7


def test_two_hundred_requests_at_a_sleeping_model_all_succeed(data):
    """All at once over HTTP, one token each: one start, everybody waits for it, nobody gets an error."""
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales", "--experts-per-function", "4")
        status, expected = ask(daemon)
        assert status == 200
        daemon.run("evict", "--all")
        before = daemon.status()
        gate = threading.Barrier(200)

        def one(_):
            gate.wait(60)
            return ask(daemon)

        with ThreadPoolExecutor(200) as pool:
            answers = list(pool.map(one, range(200)))
        after = daemon.status()
        refused = [answer for answer in answers if answer[0] != 200]
        assert not refused, f"{len(refused)} of 200 failed, the first: {refused[0]}"
        assert {text for _, text in answers} == {expected}
        assert after["crashes"] == 0
        # One start of each function: the router and at most 48 functions.
        assert after["cold_starts"] - before["cold_starts"] <= 49


def test_a_request_in_the_middle_of_an_eviction_succeeds(data):
    """At every moment of an eviction, from before its order to after its end."""
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales", "--experts-per-function", "4")
        status, expected = ask(daemon, 3)
        assert status == 200
        begin = time.monotonic()
        daemon.run("evict", "--all")
        takes = time.monotonic() - begin
        for turn in range(16):
            assert ask(daemon, 3) == (200, expected)
            eviction = threading.Thread(target=daemon.run, args=("evict", "--all"))
            eviction.start()
            time.sleep(1.2 * takes * turn / 16)
            answer = ask(daemon, 3)
            eviction.join()
            assert answer == (200, expected), f"turn {turn}: {answer}"
        assert daemon.status()["crashes"] == 0


def test_a_request_under_way_when_the_eviction_comes_gets_all_its_tokens(data):
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales", "--experts-per-function", "4")
        expected = ask(daemon, 60)
        assert expected[0] == 200
        for turn in range(4):
            with ThreadPoolExecutor(1) as pool:
                answer = pool.submit(ask, daemon, 60)
                time.sleep(0.05 + 0.15 * turn)
                daemon.run("evict", "--all")
                assert answer.result() == expected, f"turn {turn}"


def test_five_seconds_after_the_idle_time_the_host_has_its_memory_back(data):
    """Within 20 MiB of before deployment by MemAvailable, no page of a shard in the kernel's hands, no process."""
    with Daemon(data, "--idle-timeout", "1s", "--threads", "2") as daemon:
        time.sleep(1)
        before = available_bytes()
        daemon.deploy(TALES, "--name", "tales")
        assert ask(daemon, 40)[0] == 200
        cache = PageCache(data / "shards")
        assert cache.bytes() > 20 << 20 and daemon.workers()
        wait_for(lambda: not daemon.workers(), 3, "all workers idle out within 2 s of the idle time")
        time.sleep(5)
        assert daemon.workers() == [] and daemon.ps() == []
        assert cache.bytes() == 0
        cache.close()
        # Others live on this host: what they take for a moment is not ours, so several looks count.
        wait_for(lambda: available_bytes() >= before - (20 << 20), 3, "the host's memory is back")
        said = daemon.status()["memory"]
        assert said["resident_shard_bytes"] == 0 and said["kv_bytes"] == 0


def test_nothing_deployed_and_nothing_asked_holds_no_page_of_a_shard(data):
    """Deployment itself reads and writes every shard; none of it stays in memory."""
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales", "--experts-per-function", "4")
        wait_for(lambda: resident_bytes(data / "shards") == 0, 5, "the pages of a fresh deployment are given back")
        assert daemon.workers() == []
