"""What a tenant can see or touch of another's where they share a router: its prompt cache, its time, its answers, its
place after it was removed. Nothing, by what is said and by how long it takes."""

import os
import random
import signal
import time

import numpy
import pytest
from attempts import ABSENT, HIDDEN, box, prompt, spec, tenant, tried  # noqa: F401
from daemon import Daemon, figure, wait_for
from wire import Answer, Wire, request


def cached(answer: Answer) -> int:
    assert answer.status == 200, answer
    return answer.json["usage"]["prompt_tokens_details"]["cached_tokens"]


def told_apart(a: list[float], b: list[float]) -> float:
    """How often a time of `a` is longer than one of `b`: 0.5 tells nothing, 0 and 1 all."""
    a, b = numpy.array(a)[:, None], numpy.array(b)[None, :]
    return float((a > b).mean() + (a == b).mean() / 2)


def spread(times: list[float]) -> str:
    low, middle, high = numpy.percentile(numpy.array(times) * 1000, [10, 50, 90])
    return f"{middle:.2f} ms ({low:.2f} to {high:.2f})"


# --- Time -------------------------------------------------------------------------------------------------------------


def test_by_how_long_a_refusal_takes(box):
    """Another's model and none; a key that is nearly right, one that was revoked, and nonsense of the same length."""
    daemon, keys = box
    revoked = daemon.run("key", "create", "ada").strip()
    daemon.run("key", "revoke", revoked[:14])
    near, nonsense = keys["ada"][:-1] + "!", "locum-" + "z" * 44
    asked = {
        "model": lambda name: ("POST", "/v1/completions", keys["eve"], spec(name)),
        "model by path": lambda name: ("GET", "/v1/models/" + name, keys["eve"], None),
        "key": lambda key: ("GET", "/v1/models", key, None),
    }
    pairs = [("model", HIDDEN, ABSENT), ("model by path", HIDDEN, ABSENT), ("key", near, nonsense), ("key", revoked, nonsense)]
    with Wire(daemon.url) as wire:
        for what, one, other in pairs:
            times: dict[str, list[float]] = {one: [], other: []}
            for _ in range(400):
                for name in random.sample([one, other], 2):
                    arguments = asked[what](name)
                    begin = time.perf_counter()
                    answer = wire.ask(*arguments)
                    times[name].append(time.perf_counter() - begin)
                    assert answer.status in (401, 404)
            apart = told_apart(times[one], times[other])
            kind = {near: "nearly right", revoked: "revoked"}.get(one, "another's")
            # 400 of each, were they the same, lie apart by more than 0.08 once in ten thousand times.
            tried(f"the time of a refusal, {what}", f"{kind}, and none",
                  f"{spread(times[one])}, {spread(times[other])}; told apart {apart:.2f} (0.5: by chance)", abs(apart - 0.5) < 0.1)


def first_token(wire: Wire, key: str, tokens: list[int]) -> float:
    """Seconds until the first token of a stream comes."""
    body = {"model": "nano", "prompt": tokens, "max_tokens": 1, "temperature": 0, "stream": True, "ignore_eos": True}
    begin = time.perf_counter()
    wire.send(request("POST", "/v1/completions", key, body))
    head = wire.head()
    assert head is not None and head.status == 200, head
    parts = wire.chunks()
    next(parts)
    took = time.perf_counter() - begin
    for _ in parts:
        pass
    return took


def test_what_another_has_cached_by_how_soon_an_answer_comes(box):
    """ada has asked a prompt: eve's first token of it comes as late as that of a prompt that nobody asked. Her own, asked a
    second time, shows that the measure would tell."""
    daemon, keys = box
    times: dict[str, list[float]] = {"nobody asked": [], "another asked": [], "she asked": []}
    with Wire(daemon.url) as ada, Wire(daemon.url) as eve:
        first_token(ada, keys["ada"], prompt(1))
        for seed in range(100, 140):
            shared, fresh = prompt(seed), prompt(seed + 1000)
            # Each of eve's follows one of ada's, so that the machine is as warm.
            turns = [("another asked", shared, shared), ("nobody asked", prompt(seed + 2000), fresh)]
            for kind, before, asked in random.sample(turns, 2):
                first_token(ada, keys["ada"], before)
                times[kind].append(first_token(eve, keys["eve"], asked))
            first_token(ada, keys["ada"], prompt(seed + 3000))
            times["she asked"].append(first_token(eve, keys["eve"], shared))
    medians = {kind: numpy.median(values) for kind, values in times.items()}
    figure("a first token of 480 tokens, " + ", ".join(f"{kind}: {spread(values)}" for kind, values in times.items()))
    gain = medians["nobody asked"] - medians["she asked"]
    assert gain > 0.3 * medians["nobody asked"], "a cache that is hit must be seen, or this shows nothing"
    apart = told_apart(times["another asked"], times["nobody asked"])
    tried("another's prompt cache, by time", "the first token of 480, uncached and ada's",
          f"{spread(times['nobody asked'])}, {spread(times['another asked'])}; told apart {apart:.2f} (0.5: by chance)",
          abs(medians["another asked"] - medians["nobody asked"]) < 0.2 * gain and abs(apart - 0.5) < 0.25)


# --- Prompt cache -----------------------------------------------------------------------------------------------------

OWNERS = {
    "the prompt alone": {}, "as its user": {"user": "ada"}, "OpenAI's key of a cache": {"prompt_cache_key": "ada"},
    "an owner": {"owner": 0, "tenant": "ada", "cache_salt": "", "session_id": "ada"},
    "a beginning of it": {"shorter": 200}, "with log-probabilities": {"logprobs": 1}}


@pytest.mark.parametrize("how", OWNERS)
def test_what_another_has_cached_by_the_usage(box, how):
    daemon, keys = box
    tokens = prompt(7000 + list(OWNERS).index(how))
    more = dict(OWNERS[how])
    part = tokens[:more.pop("shorter", len(tokens))]
    with Wire(daemon.url) as wire:
        wire.ask("POST", "/v1/completions", keys["ada"], spec("nano", prompt=tokens))
        known = cached(wire.ask("POST", "/v1/completions", keys["ada"], spec("nano", prompt=tokens)))
        found = cached(wire.ask("POST", "/v1/completions", keys["eve"], spec("nano", prompt=part, **more)))
    assert known == 479
    tried("another's prompt cache, by usage", how, f"cached_tokens {found}, ada's {known}", found == 0)


def test_another_tenants_cache_is_not_thrown_out(box):
    """Of what a router keeps, whoever has most loses first."""
    daemon, keys = box
    tokens = prompt(8000)
    with Wire(daemon.url) as wire:
        wire.ask("POST", "/v1/completions", keys["ada"], spec("nano", prompt=tokens))
        for seed in range(8100, 8120):
            wire.ask("POST", "/v1/completions", keys["eve"], spec("nano", prompt=prompt(seed, 100)))
        found = cached(wire.ask("POST", "/v1/completions", keys["ada"], spec("nano", prompt=tokens)))
    tried("to throw out another's cache", "20 prompts of her own", f"ada's next: cached_tokens {found}", found == 479)


# --- What others do ---------------------------------------------------------------------------------------------------


def stream(daemon: Daemon, key: str, seed: int = 1, model: str = "nano", n: int = 1) -> Wire:
    """A stream under way: its first token has come. A choice of the larger model takes two seconds, eight take ten."""
    wire = Wire(daemon.url)
    body = spec(model, prompt=prompt(seed, 20), stream=True, n=n) | {"max_tokens": 480, "temperature": 1}
    wire.send(request("POST", "/v1/completions", key, body))
    head = wire.head()
    assert head is not None and head.status == 200, head
    wire.file.readline()
    return wire


def rest(wire: Wire) -> bytes:
    """What else a stream says."""
    found = b""
    while line := wire.file.readline():
        found += line
        if line == b"0\r\n":
            wire.file.readline()
            break
    return found


def test_headers_and_refusals_under_others_load(box):
    """While ada has more under way and waiting than can run, eve's answers have the headers that they have alone, and a 429 of
    hers the same bytes."""
    daemon, _ = box
    small = tenant(daemon, "small", "--max-requests", "1", "--queue", "0", "--model", "nano")
    thrifty = tenant(daemon, "thrifty", "--tokens-per-minute", "600")
    ada = tenant(daemon, "ada-too")

    def refusal() -> Answer:
        """What a request beyond its limit hears. The other one does not end meanwhile: its router stands still."""
        wait_for(lambda: active() == 0, 30, "nothing under way")
        (router,) = (row["pid"] for row in daemon.ps() if row["function"] == "nano/router")
        os.kill(router, signal.SIGSTOP)
        try:
            with Wire(daemon.url) as held, Wire(daemon.url) as wire:
                held.send(request("POST", "/v1/completions", small, spec("nano", stream=True) | {"max_tokens": 400}))
                wait_for(lambda: active() == 1, 20, "a request under way")
                return wire.ask("POST", "/v1/completions", small, spec("nano"))
        finally:
            os.kill(router, signal.SIGCONT)

    def active() -> int:
        return daemon.admin("GET", "/admin/tenants/small")[1]["active"]

    def look() -> tuple[list[str], Answer, int, float]:
        with Wire(daemon.url) as wire:
            plain = wire.ask("POST", "/v1/completions", thrifty, spec("nano"))
        at = time.monotonic()
        return [name for name, _ in plain.headers], refusal(), int(plain.header("x-ratelimit-remaining-tokens")), at

    headers, refused, left, at = look()
    busy = [Wire(daemon.url) for _ in range(4)]
    for wire in busy:
        wire.send(request("POST", "/v1/completions", ada, spec("nano", n=16) | {"max_tokens": 480}))
    wait_for(lambda: daemon.status()["sequences_queued"] > 20, 20, "a queue")
    crowded, refused_too, left_too, later = look()
    assert daemon.status()["sequences_queued"] > 0, "ada's load ended too soon for this to show anything"
    for wire in busy:
        wire.close()
    tried("others' load, by headers", "alone and under load", f"the same {len(headers)} names", crowded == headers)
    same = refused.status == 429 and refused.without() == refused_too.without()
    tried("others' load, by a 429", "alone and under load", "the same bytes" if same else f"{refused}, {refused_too}", same)
    # Ten come back every second, and five are spent.
    back = min(600, left + 10 * (later - at)) - 5
    tried("others' use, by what is left", "alone and under load, of 600", f"{left} and {left_too}",
          back - 2 <= left_too <= back + 2)
    for name in ("small", "thrifty", "ada-too"):
        daemon.run("tenant", "rm", name)


def test_ids_of_answers(box):
    """They count nothing and follow from nothing."""
    daemon, keys = box
    ids = []
    with Wire(daemon.url) as wire:
        for number in range(120):
            name, chat = ("ada", "eve")[number % 2], number % 4 < 2
            path = "/v1/chat/completions" if chat else "/v1/completions"
            ids.append(wire.ask("POST", path, keys[name], spec("nano", chat) | {"max_tokens": 1}).json["id"].split("-")[1])
    beginnings, ends = {i[:8] for i in ids}, {i[-8:] for i in ids}
    numbers = [int(i, 16) for i in ids]
    steps = {b - a for a, b in zip(numbers, numbers[1:])}
    rising = sum(b > a for a, b in zip(numbers, numbers[1:])) / len(numbers)
    random_enough = len(beginnings) == len(ends) == len(ids) == len(steps) + 1 and 0.25 < rising < 0.75
    tried("guessed ids", f"{len(ids)} of two tenants, by turns", f"all differ in 8 letters at both ends, {rising:.2f} rise",
          random_enough and min(map(len, ids)) > 20)
    answered, codes = set(), set()
    with Wire(daemon.url) as wire:
        real = wire.ask("POST", "/v1/chat/completions", keys["ada"], spec("nano", True)).json["id"]
        invented = "chatcmpl-" + "".join(random.choices("0123456789abcdef", k=len(real) - 9))
        for path in ("/v1/chat/completions/%s", "/v1/chat/completions/%s/messages", "/v1/completions/%s", "/v1/responses/%s",
                     "/v1/completions/%s/cancel", "/v1/usage/%s", "/v1/threads/%s"):
            for method in ("GET", "POST", "DELETE"):
                one = wire.ask(method, path % real, keys["eve"])
                other = wire.ask(method, path % invented, keys["eve"])
                answered.add(one.without(real) == other.without(invented))
                codes.add(one.status)
    tried("an answer by its id", "seven paths, three methods", f"{sorted(codes)}, as for no id", answered == {True} and codes <= {404, 405})


def test_another_tenants_stream_is_not_disturbed(box):
    """While ada's answer comes, eve opens and breaks off answers on the same router."""
    daemon, keys = box
    body = spec("nano", prompt=prompt(9000, 20)) | {"max_tokens": 200}
    with Wire(daemon.url) as wire:
        alone = wire.ask("POST", "/v1/completions", keys["ada"], body).json["choices"][0]["text"]
        wire.send(request("POST", "/v1/completions", keys["ada"], body))
        for seed in range(30):
            stream(daemon, keys["eve"], seed=seed).close()
        crowded = wire.read().json["choices"][0]["text"]
    tried("to disturb another's answer", "30 streams opened and broken off beside it", "the same text", crowded == alone)


# --- Tenants and keys that end ----------------------------------------------------------------------------------------


def test_a_key_that_is_revoked_in_the_middle(box):
    """What is under way is finished; the connection is good for nothing else."""
    daemon, _ = box
    tenant(daemon, "leaver")
    key = daemon.run("key", "create", "leaver").strip()
    wire = stream(daemon, key, model=HIDDEN)
    daemon.run("key", "revoke", key[:14])
    end = rest(wire)
    after = wire.ask("POST", "/v1/completions", key, spec("nano"))
    wire.close()
    daemon.run("tenant", "rm", "leaver")
    tried("a revoked key", "its stream goes on, then a request on the connection", f"done, then {after.status}",
          end.rstrip().endswith(b"0") and b"[DONE]" in end and after.status == 401)


def test_a_tenant_that_is_removed_in_the_middle(box):
    """What runs is finished, what waits is refused, and nothing new begins."""
    daemon, _ = box
    key = tenant(daemon, "leaver", "--max-requests", "1")
    wire = stream(daemon, key, model=HIDDEN)
    with Wire(daemon.url) as second:
        second.send(request("POST", "/v1/completions", key, spec("nano")))
        wait_for(lambda: daemon.admin("GET", "/admin/tenants/leaver")[1]["waiting"] == 1, 20, "one that waits")
        daemon.run("tenant", "rm", "leaver")
        end = rest(wire)
        waited = second.read()
    after = wire.ask("GET", "/v1/models", key)
    wire.close()
    tried("a removed tenant", "its stream goes on, one waits, then another", f"done, {waited.status}, {after.status}",
          b"[DONE]" in end and (waited.status, after.status) == (401, 401))


def test_a_tenant_of_a_removed_ones_name(box):
    """It is another tenant: it has neither its cache nor its keys, and the old one's requests nothing of the new one's."""
    daemon, _ = box
    tokens = prompt(9500)
    old = tenant(daemon, "phoenix", "--max-requests", "8")
    with Wire(daemon.url) as first:
        first.ask("POST", "/v1/completions", old, spec("nano", prompt=tokens))
        assert cached(first.ask("POST", "/v1/completions", old, spec("nano", prompt=tokens))) == 479
    running = stream(daemon, old, model=HIDDEN, n=8)
    with Wire(daemon.url) as waiting, Wire(daemon.url) as wire:
        secret = prompt(9600)
        waiting.send(request("POST", "/v1/completions", old, spec("nano", prompt=secret)))
        wait_for(lambda: daemon.admin("GET", "/admin/tenants/phoenix")[1]["waiting"] == 1, 20, "one that waits")
        daemon.run("tenant", "rm", "phoenix")
        new = tenant(daemon, "phoenix", "--tokens-per-minute", "100000")
        found = cached(wire.ask("POST", "/v1/completions", new, spec("nano", prompt=tokens)))
        refused = wire.ask("GET", "/v1/models", old)
        wire.ask("POST", "/v1/completions", new, spec("nano", prompt=secret))
        assert daemon.status()["sequences_active"] > 1, "the old one's first answer must still be under way"
        running.close()
        answer = waiting.read()
    used = cached(answer) if answer.status == 200 else 0
    daemon.run("tenant", "rm", "phoenix")
    tried("a removed tenant's cache", "with a new tenant of its name", f"cached_tokens {found}", found == 0)
    tried("a removed tenant's key", "at a new tenant of its name", str(refused.status), refused.status == 401)
    tried("a new tenant's cache", "a request of a removed one of its name that waited", f"{answer.status}, cached_tokens {used}",
          answer.status == 401)


def test_a_removed_tenant_spends_nothing_of_a_new_one_of_its_name(box):
    daemon, _ = box
    running = stream(daemon, tenant(daemon, "phoenix"), model=HIDDEN, n=4)
    daemon.run("tenant", "rm", "phoenix")
    new = tenant(daemon, "phoenix", "--tokens-per-minute", "100")
    assert daemon.status()["sequences_active"] == 4, "the old one's answer must still be under way"
    end = rest(running)
    running.close()
    with Wire(daemon.url) as wire:
        answer = wire.ask("POST", "/v1/completions", new, spec("nano"))
    left = answer.header("x-ratelimit-remaining-tokens")
    daemon.run("tenant", "rm", "phoenix")
    assert b"[DONE]" in end
    tried("a new tenant's tokens", "an answer of a removed one of its name goes on", f"{answer.status}, {left} of 100 left",
          answer.status == 200 and int(left or 0) >= 94)
