"""Locum as a service: units, what the service manager hears, passed sockets, two accounts, and the settings' file."""

import http.client
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from daemon import BIN, NANO, ROOT, TALES, Daemon, alive, figure, wait_for
from service import UNITS, Manager, Program, Service, listen

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: runs two accounts")
systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (package systemd)")
# Control's account in these tests; any number that no user of this machine has.
USER = "12346"
ROW = " ".join(["0.5"] * 64) + "\n"


@pytest.fixture
def place():
    """A folder that other accounts may enter."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="locum-service-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def programs(place):
    """The programs where other accounts may run them: the build may lie where they may not go."""
    folder = place / "bin"
    folder.mkdir()
    for name in ("locum", "locum-node", "locum-control", "locum-zygote", "locum-import"):
        try:
            os.link(BIN / name, folder / name)
        except OSError:
            shutil.copy(BIN / name, folder / name)
    return folder


def ask(url: str, model: str = "nano", tokens: int = 4) -> str:
    body = {"model": model, "prompt": "hello", "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    request = urllib.request.Request(
        url + "/v1/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["choices"][0]["text"]


# --- units --------------------------------------------------------------------------------------------------------------


@systemd
@pytest.mark.parametrize("unit, most", [("locum-control.service", 1.5), ("locum-node.service", 4.5)])
def test_units_leave_little_open(unit, most):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={int(most * 10)}", str(UNITS / unit)],
        capture_output=True, text=True)
    level = float(re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)[1])
    figure(f"systemd-analyze security {unit}: {level} (at most {most})")
    assert done.returncode == 0 and level <= most, done.stdout


@systemd
def test_units_are_well_formed(tmp_path):
    for unit in UNITS.iterdir():
        text = re.sub(r"^ExecStart=/usr/lib/locum/", f"ExecStart={BIN}/", unit.read_text(), flags=re.M)
        (tmp_path / unit.name).write_text(text)
    units = list(map(str, tmp_path.iterdir()))

    def verify() -> subprocess.CompletedProcess:
        return subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True,
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"})

    done = verify()
    assert done.returncode == 0 and not done.stderr, done.stderr
    # With the drop-in that is for whoever wants it; what is wrong in one would be said.
    folder = tmp_path / "locum-control.service.d"
    folder.mkdir()
    dropin = (ROOT / "Deploy/dropins/tls-credentials.conf").read_text()
    (folder / "tls.conf").write_text(dropin)
    done = verify()
    assert done.returncode == 0 and not done.stderr, done.stderr
    (folder / "tls.conf").write_text(dropin + "LoadCredentials=x\n")
    assert "LoadCredentials" in verify().stderr


def test_every_right_of_a_unit_and_every_one_withheld_has_its_reason():
    node = (UNITS / "locum-node.service").read_text()
    (bounding,) = re.findall(r"^CapabilityBoundingSet=(.*)$", node, flags=re.M)
    for name in bounding.split():
        assert re.search(rf"^#   .*\b{name}\b", node, flags=re.M), name
    for unit in UNITS.glob("*.service"):
        assert "# Off, and why:" in unit.read_text()


# --- what the manager hears ---------------------------------------------------------------------------------------------


def test_the_manager_hears_ready_status_signs_of_life_and_the_end(place):
    with Service(place, "idle-timeout: 60s\nthreads: 2\nmemory: 1G\n", watchdog=1) as service:
        node, control = service.managers["node"], service.managers["control"]
        for manager in (node, control):
            manager.wait("READY=1")
            wait_for(lambda: manager.lines().count("WATCHDOG=1") >= 3, 10, "three signs of life")
        assert control.statuses()[-1] == "no model is deployed yet"
        control.wait("STATUS=no model is deployed yet")
        node.wait(r"STATUS=0 functions up, \d+ of 1024 MB")
        assert service.cli("deploy", str(NANO / "qwen2moe"), "--name", "nano").returncode == 0
        assert ask(service.url)
        control.wait(r"STATUS=1 model, \d+ of 65 functions up, \d+ of 1024 MB")
        node.wait(r"STATUS=[1-9]\d* functions up, [1-9]\d* of 1024 MB")
        # A main loop that hangs is not heard of.
        for name, manager in service.managers.items():
            pid = service.programs[name].process.pid
            os.kill(pid, 19)
            time.sleep(0.2)
            before = len(manager.lines())
            time.sleep(1.5)
            silent = manager.lines()[before:]
            os.kill(pid, 18)
            assert silent == [], name
            wait_for(lambda: "WATCHDOG=1" in manager.lines()[before:], 5, "a sign of life again")
    for manager in (node, control):
        assert manager.lines().count("READY=1") == 1
        assert "STOPPING=1" in manager.lines()


def test_daemons_under_up_do_not_answer_for_the_service_that_it_may_be(data, monkeypatch):
    data.mkdir()
    manager = Manager(data / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.path))
    with Daemon(data / "d") as daemon:
        daemon.status()
    assert manager.lines() == []
    manager.close()


@root
def test_the_journal_gets_fields_and_others_get_lines(place):
    """Where standard error is the journal's: told by JOURNAL_STREAM, as systemd sets it."""
    script = f"""
import os, socket, subprocess, sys
os.makedirs("/run/systemd/journal")
journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
journal.bind("/run/systemd/journal/socket")
journal.settimeout(10)
ours, theirs = socket.socketpair()
for stream in (True, False):
    information = os.fstat(theirs.fileno())
    environment = dict(os.environ)
    if stream:
        environment["JOURNAL_STREAM"] = f"{{information.st_dev}}:{{information.st_ino}}"
    for words in (["locum-node", "--data"], ["locum-control", "--data"]):
        subprocess.run(["{BIN}/" + words[0], *words[1:]], env=environment, stderr=theirs)
        print((journal.recv(65536) if stream else ours.recv(65536)).decode("utf-8", "replace"))
"""
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec python3 -c "$1"', "sh", script],
        capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for name in ("locum-node", "locum-control"):
        assert f"SYSLOG_IDENTIFIER={name}\n" in done.stdout
        assert f"{name}: --data needs a value\n" in done.stdout
    assert done.stdout.count("MESSAGE=--data needs a value\n") == 2 and done.stdout.count("PRIORITY=") == 2


# --- the end ------------------------------------------------------------------------------------------------------------


def stream(url: str, tokens: int):
    """A connection on which an answer has begun to come."""
    host, port = url.removeprefix("http://").rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    body = {"model": "tales-moe", "prompt": "Once upon a time", "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.readline().startswith(b"data: {")
    return connection, answer


@pytest.mark.parametrize("limit", ["", "drain-timeout: 300ms\n"], ids=["30s", "300ms"])
def test_what_is_under_way_at_the_end_has_time_to_finish(place, limit):
    with Service(place, "threads: 2\nidle-timeout: 60s\n" + limit) as service:
        assert service.cli("deploy", str(TALES), "--name", "tales-moe").returncode == 0
        control = service.programs["control"].process
        connection, answer = stream(service.url, 400)
        control.terminate()
        service.managers["control"].wait("STATUS=ending, requests still to answer: 1")
        done = service.cli("list")
        assert done.returncode != 0 and "about to end" in done.stderr, done.stderr
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(service.url, "tales-moe")
        assert refused.value.code == 503 and refused.value.headers["Retry-After"]
        begin = time.monotonic()
        rest = answer.read() if not limit else b""
        assert control.wait(10) == 0
        if limit:
            assert time.monotonic() - begin < 2
        else:
            # The other 399 tokens, and why there are no more.
            assert rest.endswith(b"data: [DONE]\n\n") and rest.count(b"data: {") == 400
        connection.close()
        # Nothing was lost.
        service.programs["control"] = Program(
            service.words("control", service.registry), service.sockets["control"], service.managers["control"])
        service.url = service.programs["control"].url()
        assert ask(service.url, "tales-moe")


def test_a_second_signal_ends_at_once(place):
    with Service(place, "threads: 2\n") as service:
        assert service.cli("deploy", str(TALES), "--name", "tales-moe").returncode == 0
        control = service.programs["control"].process
        connection, _ = stream(service.url, 400)
        control.terminate()
        service.managers["control"].wait("STATUS=ending, requests still to answer: 1")
        control.terminate()
        assert control.wait(1) == 0
        connection.close()


# --- passed sockets -----------------------------------------------------------------------------------------------------


def test_passed_sockets_serve_and_stay(place):
    with Service(place, "threads: 2\n", http=True) as service:
        assert service.cli("deploy", str(NANO / "qwen2moe"), "--name", "nano").returncode == 0
        text = ask(service.url)
        port = service.sockets["control"]["http"].getsockname()[1]
        assert service.url == f"http://127.0.0.1:{port}"
        # While control is started again a client waits instead of being refused.
        program = service.programs["control"]
        program.process.kill()
        program.process.wait()
        import threading

        answers: list[str] = []
        waiting = threading.Thread(target=lambda: answers.append(ask(service.url)))
        waiting.start()
        time.sleep(0.3)
        service.programs["control"] = Program(
            service.words("control", service.registry), service.sockets["control"], service.managers["control"])
        waiting.join(30)
        assert answers == [text]
    for name in ("node", "invoke", "admin"):
        assert (service.run / f"{name}.sock").exists(), "whoever made it removes it"


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate (package systemd)")
def test_systemd_socket_activate_starts_control_at_the_first_connection(place):
    service = Service(place, "threads: 2\n")
    control = service.programs["control"]
    control.stop()
    admin = place / "activated.sock"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    activator = subprocess.Popen(
        ["systemd-socket-activate", "-l", str(admin), "-l", f"127.0.0.1:{port}", "--fdname=admin:http",
         *service.words("control", service.registry)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(admin.exists, 10, "it listens")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=30) as answer:
            assert json.load(answer)["data"] == []
    finally:
        activator.terminate()
        activator.wait(10)
        service.programs["node"].stop()


@pytest.mark.parametrize("name, kind, reason", [
    ("nonsense", socket.SOCK_STREAM, "a socket named 'nonsense' was passed; FileDescriptorName= of its unit must be one of"),
    ("node", socket.SOCK_SEQPACKET, "the socket named 'node' is of the wrong kind: it must listen, and be a unix stream socket"),
])
def test_a_socket_that_does_not_fit_is_refused(place, name, kind, reason):
    opened = listen(place / "x.sock", kind, 0o600)
    program = Program([str(BIN / "locum-node"), "--data", str(place / "d")], {name: opened})
    assert program.process.wait(10) == 64
    wait_for(lambda: reason in "".join(program.errors), 5, str(program.errors))
    opened.close()


# --- two accounts -------------------------------------------------------------------------------------------------------


@root
def test_two_accounts_under_what_the_units_allow(place, programs):
    """node as root with few capabilities, control as a user without any, both behind their units' system calls."""
    with Service(place, "threads: 2\nidle-timeout: 60s\n", user=USER, limited=True, bin=programs) as service:
        assert service.cli("deploy", str(NANO / "qwen2moe"), "--name", "nano").returncode == 0
        assert ask(service.url)
        rows = json.loads(service.cli("ps", "--json").stdout)
        assert rows and all(row["private_bytes"] > 0 and row["shard_resident_bytes"] > 0 for row in rows)
        pids = {name: program.process.pid for name, program in service.programs.items()}
        status = {name: dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
                  for name, pid in pids.items()}
        assert {(s["NoNewPrivs"], s["Seccomp"]) for s in status.values()} == {("1", "2")}
        assert status["control"]["Uid"].split() == [USER] * 4 and status["node"]["Uid"].split() == ["0"] * 4
        assert int(status["control"]["CapEff"], 16) == int(status["control"]["CapBnd"], 16) == 0
        # KILL, SETGID, SETUID, SETPCAP, SYS_PTRACE, SYS_ADMIN
        assert int(status["node"]["CapBnd"], 16) == sum(1 << n for n in (5, 6, 7, 8, 19, 21))
        # Neither folder is the other's.
        assert (service.shards / "shards").stat().st_uid == 0 and stat.S_IMODE((service.shards / "shards").stat().st_mode) == 0o700
        assert {path.stat().st_uid for path in service.registry.iterdir()} == {int(USER)}
        # The deployment is measured, and ends on a word.
        assert "evicted" in service.cli("evict", "--all").stdout
        assert json.loads(service.cli("ps", "--json").stdout) == []
        assert json.loads(service.cli("status", "--json").stdout)["crashes"] == 0


@root
def test_root_the_service_and_its_group_may_use_the_sockets_and_nobody_else(place, programs):
    member, stranger = 12347, 12348
    with Service(place, "threads: 2\n", user=USER, bin=programs) as service:
        assert service.cli("list").returncode == 0
        assert service.cli("deploy", str(NANO / "qwen2moe"), "--name", "nano").returncode == 0
        for groups in ([int(USER)], [7, int(USER), 9]):
            assert service.cli("list", user=member, groups=groups).returncode == 0
            done = service.cli("invoke", "nano/L00-E003", user=member, groups=groups, input=ROW)
            assert done.returncode == 0, done.stderr
        for words in (["list"], ["invoke", "nano/L00-E003"]):
            done = service.cli(*words, user=stranger, input=ROW)
            assert done.returncode == 4, done.stderr
        # Also where somebody loosened a mode.
        for name in ("admin", "invoke", "node"):
            (service.run / f"{name}.sock").chmod(0o666)
        done = service.cli("list", user=stranger)
        assert done.returncode == 1 and "may not administer" in done.stderr, done.stderr
        done = service.cli("invoke", "nano/L00-E003", user=stranger, input=ROW)
        assert done.returncode == 1 and f"user {stranger} may not invoke functions here" in done.stderr, done.stderr
        # node.sock is control's alone: a member of the group is closed out.
        code = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{service.run}/node.sock'); print(s.recv(10))"
        done = subprocess.run(["python3", "-c", code], user=member, group=member, extra_groups=[int(USER)], capture_output=True, text=True)
        assert done.stdout == "b''\n", done
        assert service.cli("list").returncode == 0


@root
def test_sockets_of_their_own_have_the_modes_of_the_units(place, programs):
    """Without passed sockets, as when somebody runs node by hand."""
    for path in ("run", "data"):
        (place / path).mkdir()
    node = Program(
        [str(programs / "locum-node"), "--data", str(place / "data"), "--run", str(place / "run"), "--control-user", USER, "--group", USER], {})
    try:
        wait_for((place / "run/invoke.sock").exists, 10, "it listens")
        wait_for(lambda: (place / "run/invoke.sock").stat().st_gid == int(USER), 5, "it is the group's")
        for name, owner, group, mode in [("node", int(USER), 0, 0o600), ("invoke", 0, int(USER), 0o660)]:
            information = (place / f"run/{name}.sock").stat()
            assert (information.st_uid, information.st_gid, stat.S_IMODE(information.st_mode)) == (owner, group, mode)
    finally:
        assert node.stop() == 0
    assert list((place / "run").iterdir()) == []


@root
def test_a_command_finds_the_service_by_itself_and_a_daemon_of_ones_own_first(place, programs):
    """In a mount namespace whose /run/locum is the service's."""
    def locum(home: Path, group: str, *words: str):
        script = f"""
            mount -t tmpfs tmpfs /run && mkdir -p /run/locum && mount --bind {service.run} /run/locum &&
            exec env -u LOCUM_DATA HOME="$1" setpriv --reuid=12347 --regid=12347 --groups="$2" "$0" "${{@:3}}" """
        return subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", script, str(programs / "locum"), str(home), group, *words],
            capture_output=True, text=True, timeout=60)

    home = place / "home"
    home.mkdir()
    os.chown(home, 12347, 12347)
    with Service(place, "threads: 2\n", user=USER, bin=programs) as service:
        assert service.cli("deploy", str(NANO / "qwen2moe"), "--name", "nano").returncode == 0
        done = locum(home, USER, "list")
        assert done.returncode == 0 and "nano" in done.stdout, done.stderr
        # A stranger is told how to become a member.
        done = locum(home, "12349", "list")
        assert done.returncode == 4 and "members of the group locum" in done.stderr, done.stderr
        with Daemon(home / ".local/share/locum", user=12347, bin=programs):
            done = locum(home, USER, "list")
            assert done.returncode == 0 and "nano" not in done.stdout, done.stderr


# --- settings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, reason", [
    ("memory: 3 gigs\n", ":1: memory: '3 gigs' cannot be used; write a number of bytes, or one with K, M, G or T: 3G"),
    ("# so\n\nthreads: 65\n", ":3: threads: '65' cannot be used; write a number from 1 to 64"),
    ("listen: 8420\n", ":1: listen: '8420' cannot be used; write HOST:PORT: 127.0.0.1:8420"),
    ("idle-timeout: soon\n", ":1: idle-timeout: 'soon' cannot be used; write a number with ms, s, m or h: 5s"),
    ("prediction: maybe\n", ":1: prediction: 'maybe' cannot be used; write on or off"),
    ("memroy: 3G\n", ":1: there is no setting 'memroy'; there are memory, listen, tls-certificate, tls-key, insecure,"),
    ("memory: 3G\nmemory: 4G\n", ":2: memory stands in line 1 already; remove one of them"),
    ("memory: [1, 2]\n", ":1: memory must have one value"),
    ("- memory\n", ":1: settings are lines like `memory: 3G`, not a list or text"),
    ("memory: 'x\n", "this is no YAML"),
    ("memory: 3G\n---\nthreads: 2\n", "holds a second document"),
    ("memory: \x00\n", "this is no YAML"),
    ("a: &a [1]\nb: *a\n", ":1: a must have one value"),
])
def test_wrong_settings_are_refused_with_file_line_reason_and_remedy(tmp_path, text, reason):
    path = tmp_path / "locum.yaml"
    path.write_text(text)
    for program in ("locum-node", "locum-control"):
        done = subprocess.run(
            [str(BIN / program), "--data", str(tmp_path / "d"), "--config", str(path)], capture_output=True, text=True, timeout=20)
        assert done.returncode == 64 and str(path) in done.stderr and reason in done.stderr, done.stderr


def test_settings_that_are_not_there_are_said(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        done = subprocess.run(
            [str(BIN / "locum-node"), "--data", str(tmp_path / "d"), "--config", str(path)], capture_output=True, text=True, timeout=20)
        assert done.returncode == 64 and f"the settings cannot be read: " in done.stderr and str(path) in done.stderr
    done = subprocess.run(
        [str(BIN / "locum-control"), "--data", str(tmp_path / "d"), "--config", "/dev/null"], capture_output=True, text=True,
        env={**os.environ, "LOCUM_THREADS": "many"}, timeout=20)
    assert done.returncode == 64 and "LOCUM_THREADS: 'many' cannot be used" in done.stderr


def test_a_flag_goes_before_the_environment_and_that_before_the_file(place):
    def budget(*flags: str, environment={}) -> int:
        (place / "run").mkdir(exist_ok=True)
        manager = Manager(place / "notify")
        config = place / "locum.yaml"
        config.write_text("memory: 600M # a comment\nprediction: off\n")
        program = Program(
            [str(BIN / "locum-node"), "--data", str(place / "d"), "--config", str(config), *flags], {}, manager,
            environment=environment)
        try:
            line = manager.wait(r"STATUS=0 functions up, \d+ of \d+ MB; waiting for locum-control")
            return int(re.search(r"of (\d+) MB", line)[1])
        finally:
            assert program.stop() == 0
            manager.close()
            manager.path.unlink()

    assert budget() == 600
    assert budget(environment={"LOCUM_MEMORY": "700M"}) == 700
    assert budget("--memory", "800M", environment={"LOCUM_MEMORY": "700M"}) == 800


def test_the_shipped_settings_change_nothing_and_name_every_setting(tmp_path):
    shipped = ROOT / "Deploy/etc/locum.yaml"
    assert all(not line or line.startswith("#") for line in shipped.read_text().splitlines())
    commented = re.findall(r"^#([a-z-]+): (.*)$", shipped.read_text(), flags=re.M)
    # And each holds when its line is uncommented.
    (tmp_path / "all.yaml").write_text("\n".join(f"{name}: {value}" for name, value in commented))
    done = subprocess.run(
        [str(BIN / "locum-node"), "--config", str(tmp_path / "all.yaml"), "--nonsense", "x"], capture_output=True, text=True, timeout=20)
    assert "--nonsense is no option" in done.stderr
    (tmp_path / "none.yaml").write_text("nonsense: 1\n")
    done = subprocess.run(
        [str(BIN / "locum-node"), "--config", str(tmp_path / "none.yaml")], capture_output=True, text=True, timeout=20)
    names = done.stderr.split("there are ")[1].strip().split(", ")
    assert [name for name, _ in commented] == names
