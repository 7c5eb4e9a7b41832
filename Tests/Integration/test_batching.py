"""Several sequences in one router: who waits for whom."""

import json
import statistics
import subprocess
import threading
import time
import urllib.request

import pytest
from daemon import BIN, Daemon, figure

PROMPT = [600 + i * 7 % 5000 for i in range(2000)]


@pytest.fixture
def daemon(tmp_path):
    model = tmp_path / "model.gguf"
    subprocess.run(
        [BIN / "locum-testmodel", model, "--preset", "medium", "--layers", "3", "--context", "4096"], check=True,
        capture_output=True)
    with Daemon(tmp_path / "data", "--threads", "2", "--idle-timeout", "60s") as daemon:
        daemon.deploy(model, "--name", "m")
        yield daemon


def times(daemon, tokens: int, into: list[float]):
    """When the tokens of a stream come."""
    body = {"model": "m", "prompt": [5, 6, 7], "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(
        daemon.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                into.append(time.monotonic())


def test_a_long_prompt_at_most_doubles_the_time_between_others_tokens(daemon):
    client = daemon.client()
    # Wakes every expert.
    client.completions.create(model="m", prompt=PROMPT[:500], max_tokens=20, extra_body={"ignore_eos": True})
    stream: list[float] = []
    running = threading.Thread(target=times, args=(daemon, 2000, stream))
    running.start()
    while len(stream) < 150:
        time.sleep(0.001)
    begin = time.monotonic()
    client.completions.create(model="m", prompt=PROMPT, max_tokens=1)
    end = time.monotonic()
    ended = len(stream) >= 2000
    running.join()
    gaps = [(later, later - earlier) for earlier, later in zip(stream, stream[1:])]
    alone = [gap for at, gap in gaps[20:] if at < begin or at > end]
    beside = [gap for at, gap in gaps if begin < at < end]
    # The stream alone has the same speed before and after, so the mean is the machine's.
    ratio = statistics.mean(beside) / statistics.mean(alone)
    figure(
        f"time between tokens while a prompt of 2,000 is read in {end - begin:.2f} s: {ratio:.2f} times that without it "
        f"(medians {statistics.median(beside) * 1000:.2f} and {statistics.median(alone) * 1000:.2f} ms)")
    assert not ended and len(beside) >= 20
    assert ratio <= 2
