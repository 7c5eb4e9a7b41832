"""A hundred tenants of five keys each, ten thousand requests offered: some tenants ask for more than they may, some have
few tokens a minute, some are patient. Every answer is 200 or says when to come again, each tenant has its part, control does
not grow, and a refusal costs what it costs with one tenant."""

import asyncio
import json
import os
import re
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy
from daemon import NANO, TALES, Daemon, figure
from wire import Wire, request

KEYS = 5
#: Of five thousand requests: what is kept of the first would show in the second.
ROUNDS = 2
MEBIBYTE = 1 << 20
BODY = {"model": "nano", "prompt": [5, 6, 7], "max_tokens": 1, "temperature": 0}


@dataclass
class Kind:
    """Tenants of one kind: how many, what they may, and what they do."""
    count: int
    limits: dict
    connections: int
    requests: int
    #: Seconds that one waits when it was refused.
    pause: float = 0


KINDS = {
    "plain": Kind(60, {}, 1, 23),
    "flood": Kind(10, {"max_requests": 1, "queue": 1}, 5, 250, 0.1),
    "thrifty": Kind(20, {"tokens_per_minute": 60}, 1, 50, 0.1),
    "batch": Kind(10, {"priority": "batch"}, 1, 15),
}


@dataclass
class Tenant:
    name: str
    kind: Kind
    keys: list[str]
    left: int = field(init=False)
    served: int = field(init=False)
    refused: int = field(init=False)
    #: Of each answer: how long it took, and when it was there.
    seconds: list[float] = field(init=False)
    answered: list[float] = field(init=False)

    def __post_init__(self):
        self.begin()

    def begin(self):
        self.left, self.served, self.refused, self.seconds, self.answered = self.kind.requests, 0, 0, [], []


def make(daemon: Daemon, name: str, kind: Kind) -> Tenant:
    status, _ = daemon.admin("POST", "/admin/tenants", {"name": name, **kind.limits})
    assert status == 200
    return Tenant(name, kind, [daemon.admin("POST", f"/admin/tenants/{name}/keys")[1]["key"] for _ in range(KEYS)])


def pss(pid: int) -> int:
    return int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[1]) << 10


async def client(address: tuple[str, int], tenant: Tenant, served):
    """Asks one request after another on one connection, with each key of the tenant in turn."""
    reader, writer = await asyncio.open_connection(*address)
    while tenant.left > 0:
        tenant.left -= 1
        writer.write(request("POST", "/v1/completions", tenant.keys[tenant.left % KEYS], BODY))
        begin = time.perf_counter()
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = json.loads(await reader.readexactly(int(re.search(r"(?i)content-length: (\d+)", head)[1])))
        status = int(head.split()[1])
        if status == 200:
            assert body["usage"]["completion_tokens"] == 1
            tenant.served += 1
            tenant.answered.append(time.perf_counter())
            tenant.seconds.append(tenant.answered[-1] - begin)
            served()
        else:
            assert status == 429 and body["error"]["code"] in ("queue_full", "rate_limit_exceeded"), (head, body)
            assert 1 <= int(re.search(r"(?i)retry-after: (\d+)", head)[1]) <= 60
            tenant.refused += 1
            await asyncio.sleep(tenant.kind.pause)
    writer.close()


async def load(daemon: Daemon, tenants: list[Tenant], control: int) -> tuple[dict[str, int], int]:
    """All clients at once. What each tenant had when the first plain one had all; the highest memory of control."""
    host, port = daemon.url.removeprefix("http://").rsplit(":", 1)
    early: dict[str, int] = {}
    highest = 0

    def served():
        if not early and any(t.kind is KINDS["plain"] and t.left == 0 for t in tenants):
            early.update({t.name: t.served for t in tenants})

    async def watch():
        nonlocal highest
        while True:
            highest = max(highest, pss(control))
            await asyncio.sleep(0.2)

    watcher = asyncio.create_task(watch())
    await asyncio.gather(*(client((host, int(port)), t, served) for t in tenants for _ in range(t.kind.connections)))
    watcher.cancel()
    return early, highest


def processor(pid: int) -> int:
    """Nanoseconds that a process's threads have had a processor: what others do beside it does not count."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def refusals(daemon: Daemon, control: int, over: str) -> dict[str, tuple[float, float, float]]:
    """Of the cheapest answer and of two refusals, in microseconds: control's processor time for each, half of what a client
    waits, and 99 of 100. The least of three rounds of 200: other work on the host only adds to them."""
    asked = {
        "health": (request("GET", "/health"), 200),
        "wrong key": (request("POST", "/v1/completions", "locum-" + "z" * 44, BODY), 401),
        "over its limit": (request("POST", "/v1/completions", over, BODY), 429)}
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in asked}
    with Wire(daemon.url) as wire:
        for _ in range(3):
            for name, (data, status) in asked.items():
                times = []
                used = processor(control)
                for _ in range(200):
                    begin = time.perf_counter()
                    wire.send(data)
                    answer = wire.read()
                    times.append((time.perf_counter() - begin) * 1e6)
                    assert answer is not None and answer.status == status
                used = processor(control) - used
                found[name].append((used / 1000 / len(times), *numpy.percentile(times, [50, 99])))
    return {name: tuple(map(min, zip(*rounds))) for name, rounds in found.items()}


def told(costs: dict[str, tuple[float, float, float]]) -> str:
    return "; ".join(
        f"{name} {used:.0f} µs of the processor, {middle:.0f} µs (p99 {late:.0f}) to the client"
        for name, (used, middle, late) in costs.items())


def test_a_hundred_tenants(data):
    with Daemon(data, "--idle-timeout", "300s", "--threads", "2") as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32", "--experts-per-function", "all")
        control = daemon.daemons()["locum-control"]
        # One that has used up its minute, and many more by its first request.
        over = make(daemon, "over", Kind(1, {"tokens_per_minute": 1}, 1, 1)).keys[0]
        with Wire(daemon.url) as wire:
            wire.ask("POST", "/v1/completions", over, BODY | {"prompt": [5] * 400})
        alone = refusals(daemon, control, over)
        tenants = [make(daemon, f"{name}-{n}", kind) for name, kind in KINDS.items() for n in range(kind.count)]
        memory, rest = [pss(control)], []
        for number in range(ROUNDS):
            begin = time.monotonic()
            early, highest = asyncio.run(load(daemon, tenants, control))
            took = time.monotonic() - begin
            memory.append(highest)
            lines = []
            for name, kind in KINDS.items():
                own = [tenant for tenant in tenants if tenant.kind is kind]
                times = numpy.array([seconds for tenant in own for seconds in tenant.seconds])
                lines.append(
                    f"  {kind.count} {name}: each {min(t.served for t in own)} to {max(t.served for t in own)} of "
                    f"{kind.requests} answered after {numpy.median(times) * 1000:.0f} ms (p99 {numpy.percentile(times, 99) * 1000:.0f}); "
                    f"{min(early[t.name] for t in own)} to {max(early[t.name] for t in own)} when the first had all")
                # Whoever never asks for more than it may is never refused, and nobody goes without.
                assert kind.pause or all(t.served == kind.requests for t in own), lines
                assert all(t.served > 0 and t.served + t.refused == kind.requests for t in own)
            offered = sum(tenant.kind.requests for tenant in tenants)
            assert offered * ROUNDS >= 10_000
            figure(
                f"100 tenants of {KEYS} keys, {offered} requests in {took:.0f} s on "
                f"{sum(t.kind.connections for t in tenants)} connections: "
                f"{sum(t.served for t in tenants)} answered, {sum(t.refused for t in tenants)} refused")
            for line in lines:
                figure(line)
            # Equal tenants, as long as all of them want more.
            part = numpy.array([early[t.name] for t in tenants if t.kind is KINDS["plain"]])
            jain = float(part.sum() ** 2 / (len(part) * (part ** 2).sum()))
            figure(f"  Jain index of the plain ones then: {jain:.3f}")
            assert jain >= 0.95 and min(part) >= part.mean() / 3
            for tenant in tenants:
                tenant.begin()
            rest.append(pss(control))
        figure(
            "control's memory before, at most in each round, and after each: "
            + ", ".join(f"{m / MEBIBYTE:.1f}" for m in memory + rest) + " MiB")
        assert max(memory) - memory[0] < 32 * MEBIBYTE
        # Nothing is kept of a request that has ended.
        assert rest[-1] - rest[0] < 4 * MEBIBYTE
        many = refusals(daemon, control, over)
        figure(f"a refusal with one tenant: {told(alone)}")
        figure(f"a refusal with a hundred: {told(many)}")
        for name in ("wrong key", "over its limit"):
            first, last = (costs[name][0] - costs["health"][0] for costs in (alone, many))
            assert first < 1000 and last < 1000
            # What each tenant and key added would be a hundred times, five hundred times as much.
            assert last < 1.5 * first + 100

def test_who_finds_a_model_asleep_does_not_pay_for_its_start(data):
    """The first requests hold their places while the model's processes are started, here for five seconds. That is nobody's time:
    else these tenants would have their next answers when those had most of theirs that came later and had to wait. These are
    never all answered at once, whatever stalls, so that somebody always waits who has had less."""
    with Daemon(data, "--idle-timeout", "300s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "nano")
        first = [make(daemon, f"first-{n}", Kind(16, {}, 1, 3)) for n in range(16)]
        later = [make(daemon, f"later-{n}", Kind(24, {}, 5, 80)) for n in range(24)]
        node = daemon.daemons()["locum-node"]
        os.kill(node, signal.SIGSTOP)
        threading.Timer(5, os.kill, (node, signal.SIGCONT)).start()
        begin = time.perf_counter()
        asyncio.run(load(daemon, first + later, daemon.daemons()["locum-control"]))
        had = [[when - begin for when in tenant.answered] for tenant in first]
        half = numpy.median([when - begin for tenant in later for when in tenant.answered])
        end = max(tenant.answered[-1] for tenant in later) - begin
        figure(
            f"16 tenants find a model asleep and have their first answers after {min(h[0] for h in had):.2f} to "
            f"{max(h[0] for h in had):.2f} s, their last of three after {max(h[2] for h in had):.2f} s at most; 24 that ask for "
            f"more and wait have half of theirs after {half:.2f} s, all after {end:.2f} s")
        assert min(h[0] for h in had) > 4
        assert max(h[2] for h in had) < half
