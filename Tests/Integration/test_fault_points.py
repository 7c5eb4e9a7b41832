"""Fail the N-th operation, for every N. While a model is deployed, rolled out anew and removed, and while the daemons
start, each operation of node and of control on the data folder (a write, sync, rename, …) once fails with EIO, once
does so with all that follow, once finds no room from there on, and once is the process's last. Then everything is
killed and started again without faults: the registry holds together, every function listed verifies, the model is
there as it was before or as it was to become, no orphan stays, and the same step succeeds.

`make test` takes a sample of the points (LOCUM_SEED chooses it), LOCUM_LONG=1 all."""

import http.client
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter

import pytest
from daemon import NANO, Daemon, children, figure, name_of, wait_for
from faults import COUNT, HOWS, PAUSE, Faults, library

LONG = bool(os.environ.get("LOCUM_LONG"))
SEED = int(os.environ.get("LOCUM_SEED", "1"))
#: Few and large functions: each shard meets the same operations.
GROUPS = ("--experts-per-function", "all", "--layers-per-function", "2")
#: All that may lie in a data folder.
NAMES = {
    "lock", "node.lock", "control.lock", "run", "shards", "tmp",
    "registry.sqlite", "registry.sqlite-wal", "registry.sqlite-shm", "registry.sqlite-reserve",
    "usage.sqlite", "usage.sqlite-wal", "usage.sqlite-shm",
}
#: From one state of the model to the next.
STEPS = {"deploy": (None, "first"), "roll-out": ("first", "second"), "rm": ("second", None)}


@pytest.fixture(scope="module")
def preload(tmp_path_factory):
    return library(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A model, and the same with one expert changed."""
    import numpy as np
    from safetensors.numpy import load_file, save_file

    changed = tmp_path_factory.mktemp("changed") / "model"
    shutil.copytree(NANO / "qwen2moe", changed)
    file = changed / "model.safetensors"
    os.chmod(file, 0o644)
    weights = load_file(str(file))
    name = "model.layers.2.mlp.experts.5.up_proj.weight"
    weights[name] = weights[name] * np.float32(1.5)
    save_file(weights, str(file))
    return {"first": NANO / "qwen2moe", "second": changed}


class Box:
    """A data folder with a model that nobody touches and one that comes, changes and goes."""

    def __init__(self, data, sources):
        self.data, self.sources = data, sources
        self.environment: dict[str, str] = {}
        self.daemon = Daemon(data)
        self.said: object = ""
        #: Digests of the model's shards in each state.
        self.states: dict[str | None, set[str]] = {None: set()}
        self.state: str | None = None

    def prepare(self):
        self.daemon.start()
        self.daemon.deploy(NANO / "gguf/qwen2moe.Q4_0.gguf", "--name", "other", *GROUPS)
        self.other = self.digests("other")
        for step in STEPS:
            assert self.take(step)
            if self.state:
                self.states[self.state] = self.digests("m")
        assert len(self.states["first"] & self.states["second"]) == 2, "one function of three changes"
        self.daemon.kill_all()

    def digests(self, model: str) -> set[str]:
        status, it = self.daemon.admin("GET", f"/admin/models/{model}")
        assert status == 200, it
        return {function["digest"] for function in it["functions"]}

    def start(self) -> bool:
        self.daemon = Daemon(self.data)
        self.daemon.environment = self.environment
        try:
            self.daemon.start()
            return True
        except AssertionError:
            return False

    def command(self, state: str) -> list[str]:
        return [
            str(self.daemon.bin / "locum"), "deploy", str(self.sources[state]), "--name", "m", "--data",
            str(self.data), *GROUPS]

    def take(self, step: str) -> bool:
        """One step; true when it was said to be done."""
        to = STEPS[step][1]
        if to:
            done = subprocess.run(self.command(to), capture_output=True, text=True, timeout=60)
            ok, self.said = done.returncode == 0, done.stderr
        else:
            try:
                status, self.said = self.daemon.admin("DELETE", "/admin/models/m")
                ok = status == 200
            except (OSError, http.client.HTTPException) as error:
                ok, self.said = False, error
        if ok:
            self.state = to
        return ok

    def stored(self) -> set[str]:
        return {path.name for path in (self.data / "shards").iterdir()}

    def settled(self) -> bool:
        return self.stored() == self.other | self.states[self.state]

    def check(self, allowed: set[str | None]):
        """The state after a restart is one of these, and whole."""
        file = f"file:{self.data / 'registry.sqlite'}?mode=ro"
        registry = sqlite3.connect(file, uri=True)
        assert registry.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert registry.execute("PRAGMA foreign_key_check").fetchall() == []
        registry.close()
        _, models = self.daemon.admin("GET", "/admin/models")
        names = {model["name"] for model in models}
        assert names - {"m"} == {"other"}, names
        found = self.digests("m") if "m" in names else set()
        self.state = next((state for state, digests in self.states.items() if digests == found), "a mixture")
        assert self.state in allowed, f"{self.state} instead of {allowed}"
        status, report = self.daemon.admin("POST", "/admin/verify")
        assert status == 200 and not report["damaged"], report
        wait_for(self.settled, 5, f"orphans gone: {self.stored()}")
        assert list((self.data / "tmp").iterdir()) == []
        assert {path.name for path in self.data.iterdir()} <= NAMES


@pytest.fixture
def box(data, sources):
    box = Box(data, sources)
    yield box
    if box.daemon.process and box.daemon.process.poll() is None:
        box.daemon.kill_all()


class Tally:
    """How many points there are, how many were tried, and which kinds of operation met a fault."""

    def __init__(self):
        self.points = self.tried = self.missed = 0
        self.kinds: Counter[str] = Counter()

    def choose(self, count: int, share: float, chance: random.Random) -> list[int]:
        self.points += count
        numbers = range(1, count + 1)
        return list(numbers) if LONG else sorted(chance.sample(numbers, max(1, round(count * share))))

    def note(self, faults: Faults):
        if faults.met:
            self.tried += 1
            self.kinds[faults.met] += 1
        else:
            # No point after all: nothing that follows takes room, or there were fewer operations than the time before
            # (how much stands in the registry's log is not always the same).
            self.points -= 1
            self.missed += 1

    def say(self, what: str):
        figure(f"{what}: {self.points} fault points, {self.tried} tried: {dict(self.kinds)}")
        assert self.tried > self.missed


@pytest.mark.parametrize("program", ["locum-node", "locum-control"])
def test_whatever_operation_fails_while_models_come_change_and_go(program, box, data, tmp_path, preload):
    chance = random.Random(SEED)
    box.prepare()
    faults = Faults(preload, program, data, tmp_path / "plan")
    box.environment = faults.environment
    tally, counts = Tally(), {}
    assert box.start()
    for step in STEPS:
        with faults.armed(COUNT):
            assert box.take(step), box.said
            wait_for(box.settled, 5, "collection")
        counts[step] = faults.kinds
        assert faults.count > 0
    print(f"{program}: operations of each step: {counts}")
    expected = {"create", "write", "sync", "rename", "unlink", "allocate", "mode"} if program == "locum-node" else {
        "write", "sync"}
    assert expected <= {kind for kinds in counts.values() for kind in kinds} | {"write"}
    points = {
        step: [
            (name, n) for name in HOWS for n in tally.choose(sum(counts[step].values()), 0.4, chance)]
        for step in STEPS
    }
    while any(points.values()):
        for step, (before, after) in STEPS.items():
            if not points[step]:
                assert box.take(step), box.said
                continue
            name, n = points[step].pop()
            what = f"{program}, {step}, operation {n}: {name}"
            try:
                with faults.armed(HOWS[name], n):
                    ok = box.take(step)
                    end = time.monotonic() + 0.5
                    while ok and not faults.met and not box.settled() and time.monotonic() < end:
                        time.sleep(0.002)
                    # What node removes after a failure it removes before the process is killed.
                    if not ok:
                        time.sleep(0.02)
                tally.note(faults)
                box.daemon.kill_all()
                assert box.start()
                box.check({after} if ok else {before, after})
                if box.state != after:
                    assert box.take(step), box.said
            except Exception as error:
                errors = "".join(box.daemon.errors[-10:])
                raise AssertionError(f"{what} ({faults.met or 'not met'}): {error}\n{box.said}\n{errors}") from error
    box.check({box.state})
    assert box.daemon.ask("hello", "other")[0] == 200
    assert box.daemon.stop() == 0
    tally.say(program)


@pytest.mark.parametrize("program", ["locum-node", "locum-control"])
@pytest.mark.parametrize("first", [True, False], ids=["first", "again"])
def test_whatever_operation_fails_while_the_daemons_start(program, first, box, data, tmp_path, preload):
    """On an empty folder, and on one whose daemons were killed."""
    chance = random.Random(SEED)
    faults = Faults(preload, program, data, tmp_path / "plan")
    if not first:
        box.prepare()
        assert box.start() and box.take("deploy")
        # What a deployment leaves that was cut off.
        box.daemon.kill_all()
        (data / "tmp/shard-1-1").write_bytes(b"part")
    box.environment = faults.environment
    tally = Tally()

    def start(how: int, n: int = 0):
        if first and data.exists():
            shutil.rmtree(data)
        with faults.armed(how, n):
            started = box.start()
        box.daemon.kill_all()
        return started

    assert start(COUNT)
    count = faults.count
    print(f"{program}: operations of a start: {faults.kinds}")
    for name in HOWS:
        for n in tally.choose(count, 0.25, chance):
            try:
                if not first:
                    (data / "tmp/shard-1-1").write_bytes(b"part")
                start(HOWS[name], n)
                tally.note(faults)
                assert box.start(), "it does not start again"
                if first:
                    box.daemon.deploy(NANO / "gguf/qwen2moe.Q4_0.gguf", "--name", "other", *GROUPS)
                    assert box.daemon.admin("POST", "/admin/verify")[1]["damaged"] == []
                else:
                    box.check({"first"})
                box.daemon.kill_all()
            except Exception as error:
                errors = "".join(box.daemon.errors[-10:])
                raise AssertionError(
                    f"{program}, start, operation {n}: {name} ({faults.met or 'not met'}): {error}\n{errors}"
                ) from error
    tally.say(f"start of {program}")


def test_an_import_that_dies_at_any_step_of_node_leaves_nothing(box, data, tmp_path, preload):
    """The import runs in namespaces of its own with an empty environment, where nothing can be loaded into it. So it
    dies from outside while node stands still at its N-th operation."""
    box.prepare()
    faults = Faults(preload, "locum-node", data, tmp_path / "plan")
    box.environment = faults.environment
    assert box.start()
    counts = {}
    for step in STEPS:
        with faults.armed(COUNT):
            assert box.take(step)
            wait_for(box.settled, 5, "collection")
        counts[step] = faults.count
    deaths = 0
    for step in ("deploy", "roll-out"):
        before, after = STEPS[step]
        for n in range(1, counts[step] + 1):
            if box.state != before:
                for name in ("rm", "deploy")[: 1 if before is None else 2]:
                    assert box.take(name), box.said
                # What it removes is no step of the deployment.
                wait_for(box.settled, 5, "collection")
            with faults.armed(PAUSE, n):
                cli = subprocess.Popen(box.command(after), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                wait_for(lambda: faults.paused or cli.poll() is not None, 10, "node pauses")
                for pid in children(box.daemon.daemons()["locum-node"]):
                    if name_of(pid) == "locum-import":
                        os.kill(pid, signal.SIGKILL)
                        deaths += 1
            ok = cli.wait(20) == 0
            said = cli.stderr.read()
            assert ok or "locum-import failed" in said or "went away" in said, said
            box.check({after} if ok else {before})
    figure(f"an import died at {deaths} of {counts['deploy'] + counts['roll-out']} steps of node")
    assert deaths >= 8
    assert box.daemon.stop() == 0
