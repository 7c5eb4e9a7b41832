"""Models that belong to tenants: whose a name is, who may use what, and that nobody learns of another's."""

import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import openai
import pytest
from attempts import status, tenant
from daemon import BIN, NANO, Daemon, Failed, figure, wait_for
from service import Service
from test_systemd import ROW, USER
from wire import Wire

OPTIONS = ("--idle-timeout", "60s", "--threads", "2")
GROUPS = ("--experts-per-function", "all")
SMALL = NANO / "qwen2moe"
#: Another model of the same shape: its answers are others.
OTHER = NANO / "mixtral"


def client(daemon: Daemon, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=daemon.url + "/v1", api_key=key, max_retries=0)


def say(daemon: Daemon, key: str, model: str = "chat") -> str:
    answer = client(daemon, key).completions.create(model=model, prompt=[5, 6, 7], max_tokens=8, temperature=0)
    assert answer.model == model
    return answer.choices[0].text


def names(daemon: Daemon, key: str) -> set[str]:
    return {model.id for model in client(daemon, key).models.list()}


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """`chat` of the operator, of ada and of eve, who may use the operator's as well; bob may use nothing but ada's."""
    with Daemon(tmp_path_factory.mktemp("models") / "data", *OPTIONS) as daemon:
        daemon.deploy(SMALL, "--name", "chat", *GROUPS)
        keys = {"ada": tenant(daemon, "ada"), "eve": tenant(daemon, "eve"), "bob": tenant(daemon, "bob", "--model", "chat@ada")}
        daemon.deploy(OTHER, "--name", "chat", "--tenant", "ada", *GROUPS)
        daemon.deploy(SMALL, "--name", "chat", "--tenant", "eve", "--context", "64", *GROUPS)
        daemon.deploy(OTHER, "--name", "secret", "--tenant", "ada", *GROUPS)
        yield daemon, keys


def test_a_name_means_the_tenants_own_model_first(box):
    daemon, keys = box
    assert {model["name"] for model in daemon.json("list")} == {"chat", "chat@ada", "chat@eve", "secret@ada"}
    assert names(daemon, keys["ada"]) == {"chat", "secret"} and names(daemon, keys["eve"]) == {"chat"}
    assert names(daemon, keys["bob"]) == {"chat@ada"}
    # Two models behind one name, and bob's answer is that of ada's.
    ada, eve = say(daemon, keys["ada"]), say(daemon, keys["eve"])
    assert ada != eve and say(daemon, keys["bob"], "chat@ada") == ada == say(daemon, keys["ada"], "chat@ada")
    # Whose it was is in the account.
    assert {row["model"] for row in daemon.json("usage", "--tenant", "ada")} == {"chat@ada"}
    functions = {row["function"].split("/")[0] for row in daemon.ps()}
    assert functions == {"chat@ada", "chat@eve"}


def test_describe_tells_the_owner_and_who_may_use_it(box):
    daemon, _ = box
    told = daemon.json("describe", "chat@ada")
    assert told["owner"] == "ada" and told["users"] == ["ada", "bob"]
    assert "owner          tenant ada\n" in daemon.run("describe", "chat@ada")
    told = daemon.json("describe", "chat")
    assert "owner" not in told and told["users"] == ["ada", "eve"]


FORMS = ["chat@ada", "secret@ada", "secret", "secret@eve", "chat@ada@eve", "chat@", "@ada", "chat@ada/router", "CHAT@ADA", "chat%40ada",
         "chat@ada\0", "chat @ada"]


@pytest.mark.parametrize("form", FORMS)
def test_another_tenants_model_is_one_that_is_not_there(box, form):
    """By its full name, by the short one, by what resembles it: the bytes are those for a model that nobody has."""
    daemon, keys = box
    absent = form.replace("chat", "quux").replace("CHAT", "QUUX").replace("secret", "absent")

    def ask(name: str):
        body = {"model": name, "prompt": [5], "max_tokens": 1}
        with Wire(daemon.url) as wire:
            return [wire.ask("POST", "/v1/completions", keys["eve"], body),
                    wire.ask("POST", "/v1/completions", keys["eve"], {**body, "stream": True})]

    there, missing = ask(form), ask(absent)
    # As JSON has them.
    shown, other = json.dumps(form)[1:-1], json.dumps(absent)[1:-1]
    assert [a.without(shown) for a in there] == [a.without(other) for a in missing], status(there)
    assert {a.status for a in there} == {404} and there[0].json["error"]["code"] == "model_not_found"


def test_a_tenant_stays_as_long_as_its_models(box):
    daemon, keys = box
    key = tenant(daemon, "cyd")
    daemon.deploy(SMALL, "--name", "chat", "--tenant", "cyd", *GROUPS)
    before = daemon.json("describe", "chat")["functions"]
    assert say(daemon, key)
    with pytest.raises(Failed, match=r"tenant cyd has models \(chat@cyd\)"):
        daemon.run("tenant", "rm", "cyd")
    assert say(daemon, key)
    daemon.run("tenant", "rm", "cyd", "--models")
    assert "chat@cyd" not in {model["name"] for model in daemon.json("list")}
    # The operator's model has the same bytes, and keeps them.
    assert daemon.json("describe", "chat")["functions"] == before
    assert daemon.json("verify")["damaged"] == []
    # Who comes later under this name finds nothing.
    assert names(daemon, tenant(daemon, "cyd")) == {"chat"}
    daemon.run("tenant", "rm", "cyd")


def test_a_model_of_nobody_and_a_name_that_is_none(box):
    daemon, _ = box
    with pytest.raises(Failed, match="no tenant nobody"):
        daemon.deploy(SMALL, "--name", "chat", "--tenant", "nobody", *GROUPS)
    with pytest.raises(Failed) as wrong:
        daemon.deploy(SMALL, "--name", "chat@ada", *GROUPS)
    assert wrong.value.code == 64
    with pytest.raises(Failed, match="cannot be named 'chat@A'"):
        daemon.deploy(SMALL, "--name", "chat", "--tenant", "A", *GROUPS)


def test_the_same_bytes_lie_on_the_disk_once(box):
    """Those of the operator and of tenants; and a router of eve's own is hers of her model."""
    daemon, keys = box
    shards = {path.name for path in (daemon.data / "shards").iterdir()}
    named = {f["digest"] for m in daemon.json("list") for f in daemon.json("describe", m["name"])["functions"]}
    assert shards == named
    chat, eve = (daemon.json("describe", name)["functions"][1:] for name in ("chat", "chat@eve"))
    assert [f["digest"] for f in chat] == [f["digest"] for f in eve]
    first = say(daemon, keys["eve"])
    daemon.run("tenant", "set", "eve", "--router", "private")
    assert say(daemon, keys["eve"]) == first
    assert "chat@eve/router@eve" in {row["function"] for row in daemon.ps()}
    daemon.run("tenant", "set", "eve", "--router", "shared")


def test_backup_restore_and_manifests(box, tmp_path):
    daemon, keys = box
    file = tmp_path / "all.tar"
    daemon.json("backup", str(file))
    right = say(daemon, keys["ada"])
    with Daemon(tmp_path / "data", *OPTIONS) as other:
        with pytest.raises(Failed, match="models of tenants that are not here: ada, eve"):
            other.run("restore", str(file))
        assert other.json("list") == []
        other.run("restore", str(file), "chat")
        other.run("restore", str(file), "--tenants")
        assert {m["name"] for m in other.json("list")} == {m["name"] for m in daemon.json("list")}
        assert say(other, keys["ada"]) == right
        # A manifest says whose models are; what it does not name goes, a tenant with its models.
        site = tmp_path / "site.yaml"
        site.write_text(
            f"models:\n  - {{name: chat, file: {SMALL}, tenant: fay, experts-per-function: all}}\n"
            f"  - {{name: chat, file: {SMALL}, experts-per-function: all}}\ntenants:\n  - name: fay\n")
        dry = other.run("apply", "-f", str(site), "--prune", "--dry-run")
        assert "+ model chat@fay" in dry and "- tenant ada\n" in dry and "- model secret@ada\n" in dry
        assert {m["name"] for m in other.json("list")} == {m["name"] for m in daemon.json("list")}
        done = other.run("apply", "-f", str(site), "--prune")
        assert dry.splitlines()[:-1] == done.splitlines()[:-1]
        assert {m["name"] for m in other.json("list")} == {"chat", "chat@fay"}
        assert [t["name"] for t in other.json("tenant", "list")] == ["fay"]
        assert "nothing to change" in other.run("apply", "-f", str(site), "--prune")
        site.write_text(f"models:\n  - {{name: chat, file: {SMALL}, tenant: gil}}\n")
        with pytest.raises(Failed, match=r"site.yaml:2: models\[0\].tenant: gil cannot own a model"):
            other.run("apply", "-f", str(site))
        assert json.dumps(other.json("list")).count("gil") == 0


# --- Users of the host ------------------------------------------------------------------------------------------------

#: Users that are ada's, eve's and nobody's; any numbers that no user of this machine has.
ADA, EVE, STRANGER = 12347, 12348, 12349

ACQUIRE = """
import os, socket, struct, sys
VERSION, path, names = 1, sys.argv[1], [name.encode() for name in sys.argv[2:]]
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(20)
try:
    s.connect(path)
except PermissionError:
    sys.exit("permission denied")
for number, name in enumerate(names):
    # acquireNamed of one function, on nobody's behalf; then what came: a link or a refusal.
    s.send(bytes([VERSION, 1]) + struct.pack("<II", number + 1, 1) + struct.pack("<I", len(name)) + name + struct.pack("<I", 0))
    frame, ancillary, *_ = s.recvmsg(1 << 16, socket.CMSG_SPACE(4 * 253))
    print(frame[1], len(ancillary), frame.hex())
    if frame[1] == 1:
        s.send(bytes([VERSION, 3]) + struct.pack("<I", number + 1))
"""


class Box:
    """A service with tenants that are users of the host."""

    def __init__(self, service: Service):
        self.service = service

    def run(self, *arguments: str, user: int | None = None, input: str = "") -> str:
        done = self.service.cli(*arguments, user=user, input=input)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str, **more):
        return json.loads(self.run(*arguments, "--json", **more))

    def refused(self, *arguments: str, user: int | None = None, input: str = "", code: int = 1) -> str:
        done = self.service.cli(*arguments, user=user, input=input)
        assert done.returncode == code and not done.stdout, (done.returncode, done.stdout, done.stderr)
        return done.stderr.strip()

    def acquire(self, user: int, *names: str) -> list[tuple[int, bytes]]:
        """For each name 1 where a link came (with its sockets), else 2 and the refusal."""
        done = subprocess.run(
            ["python3", "-c", ACQUIRE, str(self.service.run / "invoke.sock"), *names], user=user, group=user, extra_groups=[],
            capture_output=True, text=True, timeout=60, cwd="/")
        assert done.returncode == 0, done.stderr
        rows = [line.split() for line in done.stdout.splitlines()]
        assert all((row[0] == "1") == (row[1] != "0") for row in rows), "descriptors without a link"
        return [(int(row[0]), bytes.fromhex(row[2])) for row in rows]


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """The operator's `chat`, and users of ada, eve and nobody."""
    if os.geteuid() != 0:
        pytest.skip("needs root: runs as several users")
    folder = Path(tempfile.mkdtemp(prefix="locum-tenants-", dir="/tmp"))
    folder.chmod(0o755)
    programs = folder / "bin"
    programs.mkdir()
    for name in ("locum", "locum-node", "locum-control", "locum-zygote", "locum-import"):
        shutil.copy(BIN / name, programs / name)
    sources = folder / "models"
    shutil.copytree(SMALL, sources / "chat")
    shutil.copytree(OTHER, sources / "other")
    for path in [sources, *sources.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    with Service(folder, "threads: 2\nidle-timeout: 300s\n", user=USER, bin=programs) as service:
        box = Box(service)
        box.sources = sources
        box.run("deploy", str(sources / "chat"), "--name", "chat", *GROUPS)
        box.shared = box.json("describe", "chat")["functions"][1]["name"]
        box.run("tenant", "create", "ada", "--uid", str(ADA), "--model", "chat")
        box.run("tenant", "create", "eve", "--uid", str(EVE), "--model", "none")
        yield box
    shutil.rmtree(folder)


def test_a_tenants_user_deploys_invokes_and_removes_its_own(users):
    told = users.json("deploy", str(users.sources / "other"), "--name", "own", *GROUPS, user=ADA)
    assert told["name"] == "own" and told["changed"] and told["shards_written"] == told["functions"]
    assert users.json("describe", "own@ada")["owner"] == "ada"
    function = users.json("describe", "own@ada")["functions"][1]["name"].replace("own@ada", "own")
    mine = users.run("invoke", function, user=ADA, input=ROW)
    assert len(mine.split()) == 64 and mine == users.run("invoke", function.replace("own", "own@ada"), input=ROW)
    # What the operator lets it use, and nothing else.
    assert users.run("invoke", users.shared, user=ADA, input=ROW) == users.run("invoke", users.shared, input=ROW)
    assert users.run("rm", "own", user=ADA) == "removed own\n"
    assert {model["name"] for model in users.json("list")} == {"chat"}
    assert "you have no model own to remove" in users.refused("rm", "own", user=ADA, code=3)


@pytest.fixture(scope="module")
def secret(users):
    """ada's model, warm; its expert function's name."""
    users.run("deploy", str(users.sources / "other"), "--name", "secret", *GROUPS, user=ADA)
    function = users.json("describe", "secret@ada")["functions"][1]["name"]
    users.run("invoke", function, input=ROW)
    return function.split("/")[1]


def test_functions_of_others_are_not_there(users, secret):
    """Warm, cold, routers, guessed names and names of nobody: the same refusal, but for the name that was asked for."""
    there = ["secret@ada", "chat", "secret", "secret@eve", "secret@ada@eve", "eve", "@", "secret@ada/router@eve"]
    ends = [secret, "router", "router@ada", "L00-E999", "", "../" + secret]
    names = [f"{model}/{end}" for model in there for end in ends] + there
    # 64 at once are too many for a connection, one after another they are not.
    answers = users.acquire(EVE, *names)
    absent = users.acquire(EVE, "quux@ada/" + secret)[0]
    plain = {answer[1][6:].replace(name.encode(), b"X") for name, answer in zip(names, answers)}
    # A length stands before the message.
    texts = {frame[frame.index(b"there is"):] for frame in plain}
    assert {kind for kind, _ in answers} == {2} and absent[0] == 2
    assert texts == {b"there is no function X that you may invoke"}
    # The operator and ada may.
    assert [kind for kind, _ in users.acquire(ADA, "secret/" + secret, users.shared, "secret@ada/" + secret)] == [1, 1, 1]
    # Nobody has a router by the socket: who is linked to one says himself what a sequence costs and whose it is.
    kind, frame = users.acquire(ADA, "secret/router")[0]
    assert kind == 2 and b"HTTP alone" in frame


def test_who_is_nobody_gets_nothing(users, secret):
    said = users.refused("invoke", "secret@ada/" + secret, user=STRANGER, input=ROW)
    assert "may not invoke functions here" in said
    assert "may not invoke functions here" in users.refused(
        "deploy", str(users.sources / "chat"), "--name", "mine", *GROUPS, user=STRANGER)
    # The administration's socket is none of a tenant's.
    assert "admin.sock" in users.refused("tenant", "list", user=EVE, code=4)


def test_names_and_models_of_others_cannot_be_taken(users, secret):
    before = users.json("describe", "secret@ada"), users.json("describe", "chat")
    for name in ("secret@ada", "chat@nobody", "x@ada@eve"):
        done = users.service.cli("deploy", str(users.sources / "chat"), "--name", name, user=EVE)
        assert done.returncode == 64
    # By hand the same, and with words that do not tell whether the tenant is there.
    said = {name: users.refused("deploy", str(users.sources / "chat"), "--name", "chat", "--tenant", name, *GROUPS, user=EVE)
            for name in ("ada", "nobody")}
    assert said["ada"].replace("ada", "X") == said["nobody"].replace("nobody", "X") and "cannot be named" in said["ada"]
    removals = {name: users.refused("rm", name, user=EVE, code=3) for name in ("secret", "secret@ada", "chat", "absent", "absent@ada")}
    assert len({text.replace(name, "X") for name, text in removals.items()}) == 1
    # Over a name of the operator's a tenant has its own.
    users.run("deploy", str(users.sources / "chat"), "--name", "chat", *GROUPS, user=EVE)
    assert (users.json("describe", "secret@ada"), users.json("describe", "chat")) == before
    assert {model["name"] for model in users.json("list")} == {"chat", "chat@eve", "secret@ada"}


def test_what_others_have_on_the_disk_is_not_told(users, secret):
    """Nor given: the same bytes are counted as written, in a dry run, in a deployment and in a backup that only names them."""
    shards = {path.name for path in (users.service.shards / "shards").iterdir()}
    told = users.json("deploy", str(users.sources / "other"), "--name", "copy", *GROUPS, user=EVE)
    assert told["shards_written"] == told["functions"] == len(users.json("describe", "secret@ada")["functions"])
    assert {path.name for path in (users.service.shards / "shards").iterdir()} == shards, "a second copy"
    again = users.json("deploy", str(users.sources / "other"), "--name", "again", *GROUPS, user=EVE)
    assert again["shards_written"] == 0, "what it has itself it may know"
    users.run("rm", "again", user=EVE)
    # One goes, the other stays.
    users.run("rm", "secret", user=ADA)
    assert users.json("verify")["damaged"] == []
    assert users.run("invoke", "copy/" + secret, user=EVE, input=ROW)
    users.run("deploy", str(users.sources / "other"), "--name", "secret", *GROUPS, user=ADA)
    users.run("rm", "copy", user=EVE)
    assert users.run("invoke", "secret/" + secret, user=ADA, input=ROW)


def test_how_long_a_deployment_takes_tells_nothing(users, secret):
    """Of who has the same bytes. Printed: what a disk makes of it is its own."""

    def median() -> float:
        times = []
        for _ in range(7):
            begin = time.perf_counter()
            told = users.json("deploy", str(users.sources / "other"), "--name", "copy", *GROUPS, user=EVE)
            times.append(time.perf_counter() - begin)
            assert told["shards_written"] == told["functions"]
            users.run("rm", "copy", user=EVE)
        return statistics.median(times)

    there = median()
    users.run("rm", "secret", user=ADA)
    absent = median()
    users.run("deploy", str(users.sources / "other"), "--name", "secret", *GROUPS, user=ADA)
    figure(f"a deployment of what another tenant has: {there * 1000:.0f} ms, of what nobody has: {absent * 1000:.0f} ms")


def test_a_share_of_the_disk_and_of_memory(users, secret):
    size = next(model["bytes"] for model in users.json("list") if model["name"] == "chat@eve")
    share = size + next(model["bytes"] for model in users.json("list") if model["name"] == "secret@ada") // 2
    users.run("tenant", "set", "eve", "--disk", str(share))
    before = {path.name for path in (users.service.shards / "shards").iterdir()}
    said = users.refused("deploy", str(users.sources / "other"), "--name", "second", *GROUPS, user=EVE)
    assert f"of the {share} that tenant eve may have its other models take {size}" in said
    # Also when the operator deploys for it; and what there is can be made anew.
    said = users.refused("deploy", str(users.sources / "other"), "--name", "second", "--tenant", "eve", *GROUPS)
    assert "tenant eve may have" in said
    users.run("deploy", str(users.sources / "chat"), "--name", "chat", "--context", "32", *GROUPS, user=EVE)
    users.run("tenant", "set", "eve", "--disk", "unlimited", "--memory", "1M")
    said = users.refused("deploy", str(users.sources / "other"), "--name", "second", *GROUPS, user=EVE)
    assert re.search(r"second needs \d+ bytes of memory, and of the 1048576 that tenant eve may have", said)
    after = {path.name for path in (users.service.shards / "shards").iterdir()}
    # The router has its context in it.
    assert len(after - before) == 1 and before < after
    assert "second@eve" not in {model["name"] for model in users.json("list")}
    users.run("tenant", "set", "eve", "--memory", "unlimited")


def test_a_user_is_one_tenants_and_none_of_locums(users):
    for uid, reason in [(ADA, "tenant ada's already"), (0, "must be 1 to"), (int(USER), "Locum's own"), (0x6C6F0001, "Locum's own"),
                        (1 << 32, "must be 1 to")]:
        done = users.service.cli("tenant", "set", "eve", "--uid", str(uid))
        assert done.returncode in (1, 64) and reason in done.stderr, done.stderr


def test_what_is_taken_away_is_gone_at_once(users, secret):
    """Also from who keeps what it was linked to, and says that it has let go."""
    users.run("tenant", "set", "eve", "--model", "chat", "--model", "secret@ada")
    assert users.acquire(EVE, "secret@ada/" + secret)[0][0] == 1
    script = ACQUIRE + """
lane = socket.socket(fileno=struct.unpack("i", ancillary[0][2][4:8])[0])
s.send(bytes([VERSION, 4]) + struct.pack("<I", 1) + frame[18:26] + bytes([0]))
print("linked", flush=True)
sys.stdin.readline()
lane.settimeout(20)
print(len(lane.recv(64)))
"""
    process = subprocess.Popen(
        ["python3", "-c", script, str(users.service.run / "invoke.sock"), "secret@ada/" + secret], user=EVE, group=EVE,
        extra_groups=[], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")
    lines = [process.stdout.readline() for _ in range(2)]
    assert lines[1] == "linked\n", (lines, process.communicate("\n")[1])
    users.run("tenant", "set", "eve", "--model", "chat")
    out, err = process.communicate("go\n", timeout=60)
    assert out == "0\n", err
    assert users.acquire(EVE, "secret@ada/" + secret)[0][0] == 2
    assert users.run("invoke", "secret/" + secret, user=ADA, input=ROW)
    # Without users the socket is the operator's again.
    mode = lambda: (users.service.run / "invoke.sock").stat().st_mode & 0o777  # noqa: E731
    assert mode() == 0o666
    users.run("tenant", "set", "eve", "--uid", "none")
    assert "may not invoke functions here" in users.refused("invoke", "chat/" + secret, user=EVE, input=ROW)
    users.run("tenant", "set", "ada", "--uid", "none")
    wait_for(lambda: mode() == 0o660, 10, "the socket's mode")
    users.run("tenant", "set", "ada", "--uid", str(ADA))
    users.run("tenant", "set", "eve", "--uid", str(EVE))
    wait_for(lambda: mode() == 0o666, 10, "the socket's mode")


def test_tenants_with_the_same_bytes_have_them_in_memory_once(users, secret):
    """By what the kernel accounts to the workers of both: each page of the shards once."""
    users.run("deploy", str(users.sources / "other"), "--name", "copy", *GROUPS, user=EVE)
    names = [f["name"] for f in users.json("describe", "secret@ada")["functions"][1:]]
    bytes_ = sum(f["bytes"] for f in users.json("describe", "secret@ada")["functions"][1:])

    def shards(functions: list[str]) -> int:
        """Proportional bytes of shard files in the processes of these functions."""
        pids = {row["function"]: row["pid"] for row in users.json("ps")}
        total, inside = 0, False
        for function in functions:
            for line in Path(f"/proc/{pids[function]}/smaps").read_text().splitlines():
                if re.match(r"[0-9a-f]+-", line):
                    inside = "/shards/" in line
                elif inside and line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total

    others = [name.replace("secret@ada", "copy@eve") for name in names]
    for name in names:
        users.run("invoke", name, input=ROW)
    one = shards(names)
    for name in others:
        users.run("invoke", name, input=ROW)
    both = shards(names + others)
    figure(f"PSS of a model's experts: {one} bytes for one tenant, {both} for two that deployed the same ({bytes_} on disk)")
    assert one > 0 and both <= one * 1.1
    users.run("rm", "copy", user=EVE)
