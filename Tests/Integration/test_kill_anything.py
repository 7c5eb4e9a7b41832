"""kill -9 of any process of Locum but `locum up`, again and again, under four clients that try again only when they
lose their connection: every text is right, no deployment is lost, and a new client is served within two seconds.

45 s in `make test`, ten minutes with LOCUM_LONG=1, or LOCUM_SECONDS; LOCUM_SEED chooses whom it hits and when."""

import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter

from daemon import NANO, TALES, Daemon, alive, children, figure, name_of, wait_for

SECONDS = int(os.environ.get("LOCUM_SECONDS") or (600 if os.environ.get("LOCUM_LONG") else 45))
SEED = int(os.environ.get("LOCUM_SEED", "1"))
GROUPS = ("--experts-per-function", "all")
#: `locum up` takes five deaths of a daemon within ten seconds for one that cannot live.
PAUSE = 3.0
WITHIN = 2.0
LOST = (ConnectionError, http.client.HTTPException)


class WrongAnswer(Exception):
    pass


def ask(daemon: Daemon, body: dict, timeout: float = 60) -> str:
    """One try. Raises one of LOST when the connection ends early, WrongAnswer on anything but an answer."""
    host, port = daemon.url.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.status != 200:
        raise WrongAnswer(f"{answer.status}: {text}")
    if not body.get("stream"):
        return json.loads(text)["choices"][0]["text"]
    parts = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if parts[-1:] != ["[DONE]"]:
        raise WrongAnswer(f"the stream ended with {parts[-1:]}")
    chunks = [json.loads(part) for part in parts[:-1]]
    if failed := [chunk for chunk in chunks if "error" in chunk]:
        raise WrongAnswer(str(failed[0]))
    return "".join(chunk["choices"][0]["text"] for chunk in chunks if chunk["choices"])


class Load:
    """Four clients with questions whose answers are known."""

    def __init__(self, daemon: Daemon):
        self.daemon = daemon
        self.questions = []
        for i in range(8):
            body = {
                "model": "tales", "prompt": f"Once upon a time there were {i + 2} brothers who",
                "max_tokens": 24 + 8 * i, "temperature": 0.8 if i % 2 else 0, "seed": i, "stream": i % 4 > 1, "ignore_eos": True}
            self.questions.append((body, ask(daemon, body)))
        self.ended = threading.Event()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.threads = [threading.Thread(target=self.client, args=(i,)) for i in range(4)]

    def client(self, number: int):
        chance = random.Random(number)
        while not self.ended.is_set():
            body, text = chance.choice(self.questions)
            try:
                while True:
                    try:
                        got = ask(self.daemon, body)
                        break
                    except LOST:
                        self.counts["lost connections"] += 1
                        if self.ended.is_set():
                            return
                        time.sleep(0.02)
                if got != text:
                    self.wrong.append(f"{got!r} instead of {text!r}")
                self.counts["answers"] += 1
            except (WrongAnswer, OSError, ValueError) as error:
                self.wrong.append(repr(error))


class Deployer:
    """Deploys and removes one model all the time; whatever was said to be done is."""

    def __init__(self, daemon: Daemon):
        self.daemon = daemon
        self.ended = threading.Event()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.sources = {"Q4_0": NANO / "gguf/qwen2moe.Q4_0.gguf", "Q8_0": NANO / "gguf/qwen2moe.Q8_0.gguf"}
        self.state: str | None = None
        self.thread = threading.Thread(target=self.run)

    def found(self) -> str | None:
        """What is deployed; waits for the daemons."""
        def models():
            try:
                status, models = self.daemon.admin("GET", "/admin/models")
                return models if status == 200 else None
            except (OSError, http.client.HTTPException):
                return None

        listed = wait_for(models, 10, "the list of models")
        return next((model["quantization"] for model in listed if model["name"] == "guest"), None)

    def run(self):
        while not self.ended.is_set():
            before = self.state
            after = {None: "Q4_0", "Q4_0": "Q8_0", "Q8_0": None}[before]
            command = ["rm", "guest"]
            if after:
                command = ["deploy", str(self.sources[after]), "--name", "guest", *GROUPS]
            done = subprocess.run(
                [str(self.daemon.bin / "locum"), *command, "--data", str(self.daemon.data)], capture_output=True,
                text=True, timeout=60)
            found = self.found()
            if found not in ({after} if done.returncode == 0 else {before, after}):
                self.wrong.append(f"{command}: {found} after {before}, exit code {done.returncode} {done.stderr}")
            self.counts["done" if done.returncode == 0 else "failed"] += 1
            self.state = found


class Killer:
    """Chooses whom, kills, and waits until a new client is served; at times until one of the load is, too: a slow host
    would otherwise compute no answer between two deaths of control."""

    def __init__(self, daemon: Daemon, load: Load):
        self.daemon, self.load, self.chance = daemon, load, random.Random(SEED)
        self.killed: Counter[str] = Counter()
        self.worst: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.probe = {"model": "nano", "prompt": "hello", "max_tokens": 2, "temperature": 0, "ignore_eos": True}
        self.right = ask(daemon, self.probe)

    def pids(self, kind: str) -> list[int]:
        if kind in ("locum-node", "locum-control", "locum-zygote"):
            pid = self.daemon.daemons().get(kind)
            return [pid] if pid else []
        if kind == "locum-import":
            return [pid for pid in children(self.daemon.process.pid) if name_of(pid) == kind]
        try:
            status, rows = self.daemon.admin("GET", "/admin/instances")
        except (OSError, http.client.HTTPException):
            return []
        return [row["pid"] for row in rows if row["runtime"] == kind] if status == 200 else []

    def strike(self):
        kinds = ["expert"] * 4 + ["router", "locum-zygote", "locum-import"]
        for kind in ("locum-node", "locum-control"):
            if time.monotonic() - self.last.get(kind, 0) > PAUSE:
                kinds += [kind] * 3
        kind = self.chance.choice(kinds)
        end = time.monotonic() + 0.5
        while not (pids := self.pids(kind)) and time.monotonic() < end:
            time.sleep(0.01)
        if not pids:
            return
        try:
            os.kill(self.chance.choice(pids), signal.SIGKILL)
        except ProcessLookupError:
            return
        begin = self.last[kind] = time.monotonic()
        self.killed[kind] += 1
        while True:
            try:
                answer = ask(self.daemon, self.probe, timeout=10)
                assert answer == self.right, answer
                break
            except LOST:
                time.sleep(0.01)
        self.worst[kind] = max(self.worst.get(kind, 0), time.monotonic() - begin)
        if self.chance.random() < 0.25:
            before = self.load.counts["answers"]
            wait_for(lambda: self.load.counts["answers"] > before or self.load.wrong, 30, "an answer of the load")
        else:
            time.sleep(self.chance.uniform(0.05, 0.6))


def test_any_process_may_be_killed_at_any_moment(data):
    with Daemon(data, "--idle-timeout", "60s", "--threads", "2") as daemon:
        daemon.deploy(TALES, "--name", "tales")
        daemon.deploy(NANO / "qwen2moe", "--name", "nano", *GROUPS)
        load, deployer = Load(daemon), Deployer(daemon)
        killer = Killer(daemon, load)
        threads = [*load.threads, deployer.thread]
        for thread in threads:
            thread.start()
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end and not load.wrong and not deployer.wrong:
                killer.strike()
        finally:
            load.ended.set()
            deployer.ended.set()
            for thread in threads:
                thread.join(90)
        figure(
            f"killed {dict(killer.killed)}; slowest until served again "
            f"{ {kind: round(worst, 2) for kind, worst in killer.worst.items()} } s; clients {dict(load.counts)}; "
            f"deployments {dict(deployer.counts)}")
        assert not load.wrong, load.wrong[:3]
        assert not deployer.wrong, deployer.wrong[:3]
        assert not any(thread.is_alive() for thread in threads)
        assert load.counts["answers"] >= sum(killer.killed.values()) / 8 and deployer.counts["done"], "there was a load"
        assert {"expert", "router", "locum-zygote", "locum-node", "locum-control"} <= set(killer.killed)
        assert max(killer.worst.values()) < WITHIN
        names = {model["name"] for model in daemon.json("list")}
        assert names == {"tales", "nano"} | ({"guest"} if deployer.state else set())
        assert "ok" in daemon.run("verify")
        wanted = {
            function["digest"] for name in names for function in daemon.json("describe", name)["functions"]}
        wait_for(lambda: {path.name for path in (data / "shards").iterdir()} == wanted, 10, "no orphan")
        assert list((data / "tmp").iterdir()) == []
