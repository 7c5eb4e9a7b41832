"""Tenants and keys, with the real openai client: who may ask for what, how much, and in what order."""

import json
import os
import re
import signal
import sqlite3
import statistics
import subprocess
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from daemon import BIN, FIGURES, NANO, TALES, Daemon, Failed, children, name_of, wait_for

OPTIONS = ("--idle-timeout", "60s", "--threads", "2")


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """Two models, and tenants `ada` (all models) and `bob` (nano alone); answers the daemon and their keys."""
    with Daemon(tmp_path_factory.mktemp("tenants") / "data", *OPTIONS) as daemon:
        daemon.deploy(TALES, "--name", "tales-moe")
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        daemon.run("tenant", "create", "ada", "--weight", "3")
        daemon.run("tenant", "create", "bob", "--model", "nano")
        yield daemon, {name: daemon.run("key", "create", name).strip() for name in ("ada", "bob")}


def client(daemon: Daemon, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=daemon.url + "/v1", api_key=key, max_retries=0)


def ask(api: openai.OpenAI, model: str = "nano", tokens: int = 4, **more):
    return api.completions.create(model=model, prompt=[5, 6, 7], max_tokens=tokens, temperature=0, **more)


def raw(daemon: Daemon, path: str, key: str | None = None, body: dict | None = None):
    """Status, headers and body of a request."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(daemon.url + path, json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_a_key_opens_its_tenants_models_and_nothing_else(box):
    daemon, keys = box
    ada, bob = client(daemon, keys["ada"]), client(daemon, keys["bob"])
    assert {model.id for model in ada.models.list()} == {"tales-moe", "nano"}
    assert {model.id for model in bob.models.list()} == {"nano"}
    assert ask(ada).choices[0].text == ask(bob).choices[0].text
    assert ask(ada, "tales-moe").usage.completion_tokens == 4
    refusals = set()
    for model in ("tales-moe", "not-there", "tales-mo", "nan"):
        with pytest.raises(openai.NotFoundError) as asked:
            ask(bob, model)
        with pytest.raises(openai.NotFoundError) as looked:
            bob.models.retrieve(model)
        assert asked.value.body == looked.value.body and asked.value.code == "model_not_found"
        refusals.add(str(asked.value.body).replace(model, "X"))
    assert len(refusals) == 1, "what is there is told from what is not"


def test_no_key_a_wrong_one_and_a_revoked_one(box):
    daemon, keys = box
    gone = daemon.run("key", "create", "ada").strip()
    assert ask(client(daemon, gone)).usage.completion_tokens == 4
    shown = daemon.json("key", "list", "ada")
    assert len(shown) == 2 and all(gone not in json.dumps(key) for key in shown)
    assert [key["last_used"] is not None for key in shown if gone.startswith(key["id"])] == [True]
    assert "revoked" in daemon.run("key", "revoke", gone[:14])
    answers = set()
    for wrong in (gone, "locum-nobodys", keys["ada"][:-1], keys["ada"] + "x", "x" * 5000):
        with pytest.raises(openai.AuthenticationError) as error:
            ask(client(daemon, wrong))
        assert error.value.code == "invalid_api_key"
        answers.add(str(error.value.body))
    assert len(answers) == 1
    for path in ("/v1/models", "/v1/models/nano", "/v1/completions", "/nothing"):
        status, headers, body = raw(daemon, path)
        assert status == 401 and headers["WWW-Authenticate"] == "Bearer", path
        assert json.loads(body)["error"]["code"] == "invalid_api_key"
    assert raw(daemon, "/health")[0] == 200
    # The operator's commands need none.
    assert daemon.run("generate", "nano", "hello", "--max-tokens", "2") is not None


def test_how_long_a_refusal_takes(box):
    """Keys are found by their hash; this only prints what can be seen of it."""
    daemon, keys = box
    wrong = {"like a key": keys["ada"][:-1] + "!", "nothing like one": "x", "its own hash's twin": "locum-" + "A" * 44}
    times = {name: [] for name in wrong}
    for _ in range(150):
        for name, key in wrong.items():
            begin = time.perf_counter()
            assert raw(daemon, "/v1/models", key)[0] == 401
            times[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(values) * 1e6 for name, values in times.items()}
    FIGURES.append("refused keys: " + ", ".join(f"{name} {value:.0f} µs" for name, value in medians.items()))


def test_a_tenants_keys_and_values(data):
    """No more memory for them than it may have: requests wait for each other, and one that never fits is told the numbers."""
    with Daemon(data, "--idle-timeout", "300s", "--threads", "2") as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        daemon.run("tenant", "create", "eve", "--kv-memory", "1")
        api = client(daemon, daemon.run("key", "create", "eve").strip())

        def ask(seed: int, tokens: int = 200) -> str:
            prompt = [5 + (seed * 31 + i * 7) % 400 for i in range(40)]
            return api.completions.create(
                model="nano", prompt=prompt, max_tokens=tokens, temperature=0, extra_body={"ignore_eos": True}).choices[0].text

        with pytest.raises(openai.BadRequestError) as error:
            ask(0)
        taken = int(re.search(r"(\d+) bytes of keys", error.value.body["message"])[1])
        assert error.value.code == "context_length_exceeded" and "you may have 1;" in error.value.body["message"]
        daemon.run("tenant", "set", "eve", "--kv-memory", "unlimited")
        alone = [ask(seed) for seed in range(6)]
        daemon.run("evict", "nano/router")
        limit = taken * 5 // 2
        daemon.run("tenant", "set", "eve", "--kv-memory", str(limit))
        assert daemon.json("tenant", "describe", "eve")["limits"]["kv_memory"] == limit
        seen = []
        with ThreadPoolExecutor(6) as pool:
            answers = [pool.submit(ask, seed) for seed in range(6)]
            while not all(answer.done() for answer in answers):
                seen.append(daemon.status()["memory"]["kv_bytes"])
        assert [answer.result() for answer in answers] == alone
        assert taken < max(seen) <= limit, f"{max(seen)} of {limit}, one takes {taken}"
        FIGURES.append(f"six requests of {taken} bytes of keys and values at once: {max(seen)} bytes at most, {limit} allowed")


def test_the_keys_are_not_in_the_data_folder(box):
    daemon, keys = box
    for file in daemon.data.rglob("*"):
        if file.is_file() and "shards" not in file.parts:
            text = file.read_bytes()
            assert all(key.encode() not in text for key in keys.values()), file


def test_a_prompt_cache_serves_its_own_tenant_alone(box):
    daemon, keys = box
    prompt = list(range(3, 63))

    def cached(name: str) -> int:
        done = client(daemon, keys[name]).completions.create(model="nano", prompt=prompt, max_tokens=2, temperature=0)
        details = done.usage.prompt_tokens_details
        return details.cached_tokens if details else 0

    assert [cached("ada"), cached("bob"), cached("ada"), cached("bob")] == [0, 0, 59, 59]


def test_tokens_per_minute(box):
    daemon, _ = box
    daemon.run("tenant", "create", "thrifty", "--tokens-per-minute", "60")
    key = daemon.run("key", "create", "thrifty").strip()
    api = client(daemon, key)
    answer = api.completions.with_raw_response.create(model="nano", prompt=[5, 6, 7], max_tokens=40, temperature=0)
    assert answer.headers["x-ratelimit-limit-tokens"] == "60"
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 60 - 30
    assert answer.headers["x-ratelimit-reset-tokens"].endswith("s")
    for _ in range(12):
        status, headers, body = raw(
            daemon, "/v1/completions", key, {"model": "nano", "prompt": [5, 6, 7], "max_tokens": 40, "ignore_eos": True})
        if status == 429:
            break
    assert status == 429 and json.loads(body)["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(headers["Retry-After"]) <= 60
    with pytest.raises(openai.RateLimitError):
        ask(api)
    # Others do not feel it, and a client that waits as it was told gets its answer.
    time.sleep(int(headers["Retry-After"]))
    assert ask(api).usage.completion_tokens == 4
    daemon.run("tenant", "set", "thrifty", "--tokens-per-minute", "unlimited")
    assert "x-ratelimit-limit-tokens" not in raw(
        daemon, "/v1/completions", key, {"model": "nano", "prompt": [5], "max_tokens": 1})[1]
    daemon.run("tenant", "rm", "thrifty")
    assert raw(daemon, "/v1/models", key)[0] == 401


def test_sequences_at_once_and_the_queue(box):
    daemon, _ = box
    daemon.run("tenant", "create", "busy", "--max-requests", "1", "--queue", "2")
    key = daemon.run("key", "create", "busy").strip()
    body = {"model": "tales-moe", "prompt": "Once", "max_tokens": 60, "ignore_eos": True}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: raw(daemon, "/v1/completions", key, body), range(8)))
    by = {status: [a for a in answers if a[0] == status] for status in {a[0] for a in answers}}
    assert set(by) == {200, 429} and len(by[200]) >= 3
    assert all(json.loads(a[2])["error"]["code"] == "queue_full" and a[1]["Retry-After"] for a in by[429])
    # More than may ever be is no matter of waiting.
    assert raw(daemon, "/v1/completions", key, {**body, "n": 4})[0] == 400
    shown = daemon.json("tenant", "describe", "busy")
    assert (shown["active"], shown["waiting"]) == (0, 0)
    daemon.run("tenant", "rm", "busy")


def test_a_tenant_that_floods_delays_no_other_for_long(box):
    """Forty long requests of one tenant, eight run at once; another one's request takes the next free place."""
    daemon, keys = box
    body = {"model": "tales-moe", "prompt": "Once upon a time", "max_tokens": 120, "ignore_eos": True}
    order, lock = [], threading.Lock()

    def send(name: str, more: int = 0):
        assert raw(daemon, "/v1/completions", keys2[name], {**body, "max_tokens": body["max_tokens"] + more})[0] == 200
        with lock:
            order.append(name)

    daemon.run("tenant", "create", "flood")
    daemon.run("tenant", "create", "calm")
    daemon.run("tenant", "create", "batch", "--priority", "batch")
    keys2 = {name: daemon.run("key", "create", name).strip() for name in ("flood", "calm", "batch")}
    with ThreadPoolExecutor(50) as pool:
        waits = [pool.submit(send, "batch") for _ in range(4)]
        waits += [pool.submit(send, "flood", i % 7) for i in range(40)]
        wait_for(lambda: daemon.status()["sequences_queued"] >= 20, 20, "a queue")
        before = len(order)
        waits += [pool.submit(send, "calm") for _ in range(4)]
        for wait in waits:
            wait.result()
    places = [index for index, name in enumerate(order) if name == "calm"]
    # Eight run when they come, and of the others each second one may be theirs.
    assert places[-1] - before < 20, order
    FIGURES.append(f"a flood of 40 and 4 of another tenant: these end as numbers {', '.join(str(p + 1) for p in places)} of 48")
    for name in keys2:
        daemon.run("tenant", "rm", name)


def test_wrong_use_is_said(box):
    daemon, _ = box

    def fails(code: int, *arguments: str) -> str:
        with pytest.raises(Failed) as error:
            daemon.run(*arguments)
        assert error.value.code == code, error.value
        return error.value.err

    assert "already" in fails(1, "tenant", "create", "ada")
    assert "a name begins with" in fails(1, "tenant", "create", "Ada Lovelace")
    assert "no tenant nobody" in fails(3, "key", "create", "nobody")
    assert "no tenant nobody" in fails(3, "tenant", "set", "nobody", "--weight", "2")
    assert "no tenant nobody" in fails(3, "tenant", "describe", "nobody")
    assert "no key is shown as" in fails(3, "key", "revoke", "locum-nobody")
    assert "--weight 0" in fails(64, "tenant", "set", "ada", "--weight", "0")
    assert "say what to change" in fails(64, "tenant", "set", "ada")
    assert "--priority urgent" in fails(64, "tenant", "create", "x", "--priority", "urgent")
    assert "unlimited" in fails(64, "tenant", "create", "x", "--max-requests", "many")
    assert "all stands alone" in fails(64, "tenant", "create", "x", "--model", "all", "--model", "nano")
    assert [tenant["name"] for tenant in daemon.json("tenant", "list")] == ["ada", "bob"]
    assert daemon.json("tenant", "describe", "ada")["limits"]["weight"] == 3
    text = daemon.run("tenant", "list")
    assert "NAME" in text and "bob" in text and "nano" in text
    # What the HTTP listener has of administration is nothing.
    assert raw(daemon, "/admin/tenants", client(daemon, "x").api_key)[0] == 401


def test_an_operators_key_opens_administration_over_http_and_outlives_everything(data, tmp_path):
    file = tmp_path / "backup.tar"
    with Daemon(data, *OPTIONS) as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        assert raw(daemon, "/v1/models")[0] == 200 and raw(daemon, "/admin/status")[0] == 404
        admin = daemon.run("key", "create", "--admin").strip()
        metrics = daemon.run("key", "create", "--metrics").strip()
        # No tenant, and yet nobody gets in without a key.
        for key in (None, "locum-nobodys", metrics):
            assert {raw(daemon, path, key)[0] for path in ("/v1/models", "/admin/status", "/nowhere")} == {401}
        assert json.loads(raw(daemon, "/admin/status", admin)[2])["models"] == 1
        assert ask(client(daemon, admin)).usage.completion_tokens == 4
        # All of it: a tenant and a key made from afar.
        assert raw(daemon, "/admin/tenants", admin, {"name": "ada", "weight": 2})[0] == 200
        ada = json.loads(raw(daemon, "/admin/tenants/ada/keys", admin, {"x": 1})[2])["key"]
        assert ask(client(daemon, ada)).usage.completion_tokens == 4
        assert raw(daemon, "/admin/status", ada)[0] == 404 and raw(daemon, "/nowhere", ada)[0] == 404
        assert raw(daemon, "/admin/tenants", ada, {"name": "eve"})[0] == 404
        assert [tenant["name"] for tenant in daemon.json("tenant", "list")] == ["ada"]
        roles = {key["id"]: (key.get("tenant"), key.get("role")) for key in daemon.json("key", "list")}
        assert roles == {admin[:14]: (None, "admin"), metrics[:14]: (None, "metrics"), ada[:14]: ("ada", None)}
        text = daemon.run("key", "list")
        assert "admin" in text and "metrics" in text and admin not in text
        daemon.run("backup", str(file))
        control = next(pid for pid in children(daemon.process.pid) if name_of(pid) == "locum-control")
        os.kill(control, signal.SIGKILL)
        wait_for(lambda: served(daemon, admin), 20, "an answer after control was killed")
        for wrong in ((), ("ada", "--admin"), ("--admin", "--metrics")):
            with pytest.raises(Failed) as error:
                daemon.run("key", "create", *wrong)
            assert error.value.code == 64
    for held in (file, data / "registry.sqlite"):
        assert all(key.encode() not in held.read_bytes() for key in (admin, metrics))
    with Daemon(data, *OPTIONS) as daemon:
        assert raw(daemon, "/admin/status", admin)[0] == 200
        daemon.run("tenant", "rm", "ada")
        assert "(an admin key)" in daemon.run("key", "revoke", admin[:14])
        assert raw(daemon, "/admin/status", admin)[0] == 401
        assert "need no key now" in daemon.run("key", "revoke", metrics[:14])
        assert raw(daemon, "/v1/models")[0] == 200 and raw(daemon, "/admin/status", admin)[0] == 404
    with Daemon(tmp_path / "other", *OPTIONS) as daemon:
        assert "1 tenant, 2 operator's keys" in daemon.run("restore", str(file))
        assert raw(daemon, "/v1/models")[0] == 200
        assert f"restored {admin[:14]}… (an admin key)" in daemon.run("restore", str(file), "--tenants")
        assert raw(daemon, "/admin/status", admin)[0] == 200 and raw(daemon, "/v1/models")[0] == 401
    with sqlite3.connect(tmp_path / "other/registry.sqlite") as registry:
        registry.execute("UPDATE operator_keys SET role = 'admin'")
    registry.close()
    done = subprocess.run(
        [str(BIN / "locum"), "repair", "--data", str(tmp_path / "other"), "--json"],
        capture_output=True, text=True, timeout=60)
    report = json.loads(done.stdout)
    assert [loss["model"] for loss in report["lost"]] == [f"key {metrics[:14]}"]
    assert report["saved"] == ["nano", "tenant ada", f"key {admin[:14]}"]


def test_tenants_outlive_everything(data):
    with Daemon(data, *OPTIONS) as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        daemon.run("tenant", "create", "ada", "--queue", "7", "--model", "nano", "--max-requests", "2")
        key = daemon.run("key", "create", "ada").strip()
        assert ask(client(daemon, key)).usage.completion_tokens == 4
        control = next(pid for pid in children(daemon.process.pid) if name_of(pid) == "locum-control")
        os.kill(control, signal.SIGKILL)
        wait_for(lambda: served(daemon, key), 20, "an answer after control was killed")
        before = daemon.json("tenant", "describe", "ada")
    with Daemon(data, *OPTIONS) as daemon:
        after = daemon.json("tenant", "describe", "ada")
        assert after["limits"] == before["limits"] and after["created_at"] == before["created_at"]
        # At the end it was written down when the key was used.
        assert after["keys"][0]["last_used"] is not None
        assert ask(client(daemon, key)).usage.completion_tokens == 4
        daemon.run("tenant", "rm", "ada")
        # Nobody is left to tell apart.
        assert ask(client(daemon, "any")).usage.completion_tokens == 4


def test_a_backup_brings_tenants_back_where_that_is_wanted(data, tmp_path):
    file = tmp_path / "backup.tar"
    with Daemon(data, *OPTIONS) as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        daemon.run("tenant", "create", "ada", "--weight", "5")
        key = daemon.run("key", "create", "ada").strip()
        daemon.run("backup", str(file))
    assert key.encode() not in file.read_bytes()
    with Daemon(tmp_path / "other", *OPTIONS) as daemon:
        assert "left in the backup: 1 tenant" in daemon.run("restore", str(file))
        assert daemon.json("tenant", "list") == []
        assert "restored tenant ada with 1 key" in daemon.run("restore", str(file), "nano", "--tenants")
        assert daemon.json("tenant", "describe", "ada")["limits"]["weight"] == 5
        assert ask(client(daemon, key)).usage.completion_tokens == 4
        assert raw(daemon, "/v1/models")[0] == 401


def served(daemon: Daemon, key: str) -> bool:
    try:
        return ask(client(daemon, key)).usage.completion_tokens == 4
    except (openai.APIConnectionError, openai.InternalServerError, Failed):
        return False


def test_a_damaged_tenant_is_refused_and_repaired(data):
    with Daemon(data, *OPTIONS) as daemon:
        for name in ("ada", "bob"):
            daemon.run("tenant", "create", name)
        key = daemon.run("key", "create", "ada").strip()
        daemon.run("key", "create", "bob")
    with sqlite3.connect(data / "registry.sqlite") as registry:
        registry.execute("UPDATE tenants SET limits = replace(limits, '64', '65') WHERE name = 'bob'")
    registry.close()
    done = subprocess.run(
        [str(BIN / "locum"), "up", "--data", str(data), "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "tenant bob" in done.stderr and "locum repair" in done.stderr
    done = subprocess.run(
        [str(BIN / "locum"), "repair", "--data", str(data), "--json"], capture_output=True, text=True, timeout=60)
    report = json.loads(done.stdout)
    assert report["saved"] == ["tenant ada"] and [loss["model"] for loss in report["lost"]] == ["tenant bob"]
    with Daemon(data, *OPTIONS) as daemon:
        assert [tenant["name"] for tenant in daemon.json("tenant", "list")] == ["ada"]
        assert raw(daemon, "/v1/models", key)[0] == 200


def test_a_repair_that_loses_all_tenants_leaves_nobody_in(data):
    with Daemon(data, *OPTIONS) as daemon:
        daemon.run("tenant", "create", "ada")
        daemon.run("key", "create", "ada")
    with sqlite3.connect(data / "registry.sqlite") as registry:
        registry.execute("DELETE FROM keys")
    registry.close()
    done = subprocess.run(
        [str(BIN / "locum"), "repair", "--data", str(data)], capture_output=True, text=True, timeout=60)
    assert "lost: tenant ada" in done.stdout and "the HTTP API is closed" in done.stdout
    with Daemon(data, *OPTIONS) as daemon:
        assert raw(daemon, "/v1/models")[0] == 401
        assert "need no key now" in daemon.run("tenant", "rm", "closed-by-repair")
        assert raw(daemon, "/v1/models")[0] == 200


def test_listening_beyond_this_host_must_be_wanted(data):
    done = subprocess.run(
        [str(BIN / "locum"), "up", "--data", str(data), "--listen", "0.0.0.0:0"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "--insecure" in done.stderr and "TLS" in done.stderr
    with Daemon(data, "--insecure", *OPTIONS).start("0.0.0.0:0") as daemon:
        port = daemon.url.rsplit(":", 1)[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert answer.status == 200


def test_a_private_router_is_a_process_of_its_own_over_the_same_experts(tmp_path):
    with Daemon(tmp_path / "data", *OPTIONS) as daemon:
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f32")
        for name, router in (("ada", "private"), ("bob", "private"), ("cyd", "shared"), ("dan", "shared")):
            daemon.run("tenant", "create", name, "--router", router)
        keys = {name: daemon.run("key", "create", name).strip() for name in ("ada", "bob", "cyd", "dan")}

        def routers():
            return {row["function"]: row["pid"] for row in daemon.ps() if row["runtime"] == "router"}

        with ThreadPoolExecutor(4) as pool:
            texts = set(pool.map(lambda key: ask(client(daemon, key), tokens=20).choices[0].text, keys.values()))
        assert len(texts) == 1, "whoever computes it, the answer is the same"
        assert set(routers()) == {"nano/router", "nano/router@ada", "nano/router@bob"}
        experts = [row["function"] for row in daemon.ps() if row["runtime"] == "expert"]
        assert len(experts) == len(set(experts)), "an expert is there once for all routers"
        # Of their own: another process, another user.
        users = {Path(f"/proc/{pid}").stat().st_uid for pid in routers().values()}
        assert len(users) == 3 or os.geteuid() != 0
        # One that dies takes nobody else's answer with it.
        before = routers()
        os.kill(before["nano/router@ada"], signal.SIGKILL)
        assert ask(client(daemon, keys["ada"]), tokens=20).choices[0].text in texts
        after = routers()
        assert after["nano/router@bob"] == before["nano/router@bob"] and after["nano/router"] == before["nano/router"]
        # Its choice can be changed; the old one goes when it has nothing to do.
        daemon.run("tenant", "set", "ada", "--router", "shared")
        assert daemon.json("tenant", "describe", "ada")["limits"]["router"] == "shared"
        daemon.run("evict", "nano/router@ada")
        assert ask(client(daemon, keys["ada"])).usage.completion_tokens == 4
        assert set(routers()) == {"nano/router", "nano/router@bob"}
        # Those of the old revision go with it, and the new one's are made when asked for.
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", "--kv-type", "f16")
        wait_for(lambda: not set(before.values()) & set(routers().values()), 10, "the old routers gone")
        assert ask(client(daemon, keys["bob"])).usage.completion_tokens == 4
        assert set(routers()) == {"nano/router@bob"}
        # A tenant that is removed leaves no process behind that a later one of its name could be given.
        daemon.run("tenant", "rm", "bob")
        wait_for(lambda: not routers(), 10, "the removed tenant's router gone")
        daemon.run("rm", "nano")
        assert daemon.ps() == []
        for wrong in ("nano/router@", "nano/router@nobody/else", "nano/L00-E000@ada"):
            with pytest.raises(Failed) as error:
                daemon.run("evict", wrong)
            assert error.value.code == 3
        with pytest.raises(Failed) as error:
            daemon.run("tenant", "set", "ada", "--router", "mine")
        assert error.value.code == 64
