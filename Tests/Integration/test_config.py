"""Settings: `locum config`, `locum up --config`, and daemons that read their settings again while they work."""

import json
import os
import re
import shutil
import signal
import subprocess
import time

import pytest
from daemon import BIN, NANO, ROOT, TALES, Daemon, wait_for
from service import Service
from test_systemd import USER, ask, place, programs, root, stream  # noqa: F401


def locum(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(BIN / "locum"), *words], capture_output=True, text=True, env={**os.environ, **environment}, timeout=20)


@pytest.fixture
def config(tmp_path):
    return tmp_path / "locum.yaml"


# --- check and show -----------------------------------------------------------------------------------------------------


def test_check_says_all_that_is_wrong_with_line_and_field(config):
    config.write_text("memory: 3 gigs\nmemroy: 3G\nthreads: 2\nthreads: 3\nlisten: [1]\n")
    done = locum("config", "check", str(config), LOCUM_PREDICTION="maybe")
    assert done.returncode == 1 and not done.stdout
    for line in (f"{config}:1: memory: '3 gigs' cannot be used", f"{config}:2: there is no setting 'memroy'",
                 f"{config}:4: threads stands in line 3 already", f"{config}:5: listen must have one value",
                 "LOCUM_PREDICTION: 'maybe' cannot be used"):
        assert line in done.stderr, done.stderr
    # As the daemons say it.
    for program in ("locum-node", "locum-control"):
        daemon = subprocess.run(
            [str(BIN / program), "--data", str(config.parent / "d"), "--config", str(config)], capture_output=True, text=True,
            env={**os.environ, "LOCUM_PREDICTION": "maybe"}, timeout=20)
        assert daemon.returncode == 64
        assert daemon.stderr.removeprefix(f"{program}: ") == done.stderr.removeprefix("locum: ")
    assert not (config.parent / "d").exists()


@pytest.mark.parametrize("text, reason", [
    ("tls-certificate: /c.pem\n", ":1: tls-certificate is set and tls-key is not"),
    ("tls-certificate: /none/c.pem\ntls-key: /none/k.pem\n", ":2: tls-key: cannot find /none/k.pem: No such file"),
    (None, "the settings cannot be read: open"),
    ("memory: 3G\n bad: [\n", ":2: this is no YAML"),
])
def test_check_looks_beyond_single_values(config, text, reason):
    if text is not None:
        config.write_text(text)
    done = locum("config", "check", str(config))
    assert done.returncode == 1 and reason in done.stderr, done.stderr


def test_the_shipped_file_is_right():
    done = locum("config", "check", str(ROOT / "Deploy/etc/locum.yaml"))
    assert done.returncode == 0 and "nothing is wrong" in done.stdout, done.stderr


def test_show_tells_each_value_and_where_it_is_from(config):
    config.write_text("# mine\nmemory: 3G\nidle-timeout: 5s\nthreads: 2\n")
    words = ["config", "show", "--config", str(config), "--threads", "4"]
    done = locum(*words, "--json", LOCUM_IDLE_TIMEOUT="6s")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert rows["memory"] == {"name": "memory", "value": "3G", "origin": f"{config}:2", "reload": False}
    assert rows["idle-timeout"] == {"name": "idle-timeout", "value": "6s", "origin": "LOCUM_IDLE_TIMEOUT", "reload": True}
    assert rows["threads"] == {"name": "threads", "value": "4", "origin": "--threads", "reload": False}
    assert rows["listen"] == {"name": "listen", "value": "127.0.0.1:8420", "origin": "default", "reload": False}
    assert all(row["value"] for row in rows.values())
    table = locum(*words, LOCUM_IDLE_TIMEOUT="6s").stdout.splitlines()
    assert table[0].split() == ["SETTING", "VALUE", "FROM", "A", "CHANGE", "TAKES"]
    assert re.fullmatch(rf"memory +3G +{re.escape(str(config))}:2 +restart", table[1])
    assert len(table) == len(rows) + 1


def test_what_is_wrong_is_not_shown(config):
    config.write_text("threads: none\n")
    done = locum("config", "show", "--config", str(config), "--json")
    assert done.returncode == 1 and not done.stdout and f"{config}:1: threads" in done.stderr


def test_every_setting_stands_in_the_shipped_file_and_in_locum_up():
    shipped = re.findall(r"^#([a-z-]+): ", (ROOT / "Deploy/etc/locum.yaml").read_text(), flags=re.M)
    rows = json.loads(locum("config", "show", "--json").stdout)
    assert [row["name"] for row in rows] == shipped
    # `locum up` ends at once when it is told to: nobody waits for what drains.
    options = set(re.findall(r"^  --([a-z-]+)", locum("up", "--help").stdout, flags=re.M))
    assert set(shipped) - options == {"drain-timeout"}


# --- locum up -----------------------------------------------------------------------------------------------------------


def test_up_takes_flags_before_the_environment_and_that_before_the_file(data, config):
    config.write_text("memory: 600M\nlisten: 127.0.0.1:1\nthreads: 1\n")
    daemon = Daemon(data, "--config", str(config))
    for environment, words, budget in [({}, [], 600), ({"LOCUM_MEMORY": "700M"}, [], 700),
                                       ({"LOCUM_MEMORY": "700M"}, ["--memory", "800M"], 800)]:
        daemon = Daemon(data, "--config", str(config), *words)
        daemon.environment = environment
        # --listen is a flag: port 1 of the file is not tried.
        with daemon.start():
            assert daemon.status()["memory"]["budget_bytes"] == budget << 20
    daemon = Daemon(data)
    daemon.environment = {"LOCUM_MEMORY": "900M"}
    with daemon.start():
        assert daemon.status()["memory"]["budget_bytes"] == 900 << 20


def test_up_with_wrong_settings_ends_before_anything_begins(data, config):
    config.write_text("memory: much\nthreads: many\n")
    done = locum("up", "--data", str(data), "--config", str(config))
    assert done.returncode == 1 and not data.exists()
    assert done.stderr == (f"locum: {config}:1: memory: 'much' cannot be used; write a number of bytes, or one with K, M, G or T: 3G\n"
                           f"{config}:2: threads: 'many' cannot be used; write a number from 1 to 64\n")
    done = locum("up", "--data", str(data), "--threads", "65")
    assert done.returncode == 64 and "--threads: '65' cannot be used" in done.stderr and not data.exists()


def test_without_a_terminal_up_hands_sighup_on_and_goes_on(data, config):
    config.write_text("idle-timeout: 60s\nprediction: on\n")
    daemon = Daemon(data, "--config", str(config))
    # A session of its own has no terminal.
    with daemon.start(session=True):
        daemon.deploy(NANO / "qwen2moe", "--name", "nano")
        config.write_text("idle-timeout: 200ms\nprediction: off\n")
        daemon.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "idle-timeout was 60s, is 200ms" in "".join(daemon.errors), 5, "control's word")
        wait_for(lambda: "prediction was on, is off" in "".join(daemon.errors), 5, "node's word")
        daemon.ask("hello", "nano")
        wait_for(lambda: daemon.ps() == [], 5, "zero")


def test_with_a_terminal_sighup_ends_up(data):
    daemon = Daemon(data)
    import pty

    ours, theirs = pty.openpty()
    with daemon.start(terminal=theirs):
        assert daemon.stop(signal.SIGHUP) == 0
    os.close(ours)
    os.close(theirs)


# --- reloading ----------------------------------------------------------------------------------------------------------


def hup(service: Service, *names: str):
    """SIGHUP, and that the manager hears of its begin and end."""
    for name in names:
        service.managers[name].wait("READY=1")
    heard = {name: len(service.managers[name].lines()) for name in names}
    for name in names:
        service.programs[name].process.send_signal(signal.SIGHUP)
    for name in names:
        def lines():
            return [line for line in service.managers[name].lines()[heard[name]:] if not line.startswith(("STATUS=", "WATCHDOG="))]

        wait_for(lambda: "READY=1" in lines(), 10, f"{name} is ready again")
        assert lines()[0] == "RELOADING=1" and lines()[1].startswith("MONOTONIC_USEC="), lines()


def said(service: Service, name: str, text: str):
    errors = service.programs[name].errors
    wait_for(lambda: any(text in line for line in errors), 5, f"{text} in {errors}")


def test_sighup_changes_what_can_change_and_names_the_rest(place):  # noqa: F811
    config = "idle-timeout: 60s\nthreads: 2\nprediction: on\nmemory: 1G\n"
    with Service(place, config) as service:
        assert service.cli("deploy", str(NANO / "qwen2moe"), "--name", "nano").returncode == 0
        assert ask(service.url)
        assert json.loads(service.cli("ps", "--json").stdout)
        before = {name: program.process.pid for name, program in service.programs.items()}
        service.config.write_text(
            "idle-timeout: 300ms\nthreads: 1\nprediction: off\nmemory: 2G\nkeep-sessions: 0s\nlisten: 127.0.0.1:1\n")
        hup(service, "node", "control")
        said(service, "control", "idle-timeout was 60s, is 300ms")
        said(service, "control", "threads was 2, is 1: that takes a restart of locum-control")
        said(service, "control", "listen was 127.0.0.1:0, is 127.0.0.1:1: that takes a restart of locum-control")
        said(service, "node", "prediction was on, is off")
        said(service, "node", "memory was 1G, is 2G: that takes a restart of locum-node")
        # What is awake goes by the new time, and nobody was started again.
        wait_for(lambda: json.loads(service.cli("ps", "--json").stdout) == [], 5, "zero")
        assert ask(service.url)
        assert json.loads(service.cli("status", "--json").stdout)["memory"]["budget_bytes"] == 1 << 30
        assert before == {name: program.process.pid for name, program in service.programs.items()}
        # Again: only what still waits for a restart.
        hup(service, "control")
        said(service, "control", "read again: listen was 127.0.0.1:0, is 127.0.0.1:1: that takes a restart of locum-control; threads")


def test_wrong_settings_change_nothing_and_are_named(place):  # noqa: F811
    with Service(place, "idle-timeout: 60s\nthreads: 2\nprediction: on\n") as service:
        for text, reason in [("idle-timeout: 1ms\nthreads: none\n", ":2: threads: 'none' cannot be used"),
                             ("idle-timeout: 1ms\nx: [\n", "this is no YAML"),
                             ("idle-timeout: 1ms\nmemroy: 3G\n", ":2: there is no setting 'memroy'")]:
            service.config.write_text(text)
            hup(service, "node", "control")
            for name in ("node", "control"):
                said(service, name, "the settings were read again and are wrong, so nothing is changed: ")
                said(service, name, reason)
        service.config.unlink()
        hup(service, "node", "control")
        said(service, "control", "the settings cannot be read: ")
        assert service.cli("deploy", str(NANO / "qwen2moe"), "--name", "nano").returncode == 0
        assert ask(service.url)
        time.sleep(0.5)
        assert json.loads(service.cli("ps", "--json").stdout), "still 60 s"
        # Put right, it is as if nothing had been.
        service.config.write_text("idle-timeout: 200ms\nthreads: 2\nprediction: on\nlisten: 127.0.0.1:0\n")
        hup(service, "node", "control")
        said(service, "node", "the settings were read again: nothing has changed")
        wait_for(lambda: json.loads(service.cli("ps", "--json").stdout) == [], 5, "zero")


def test_streams_go_on_while_settings_are_read_again_and_the_drain_is_the_new_one(place):  # noqa: F811
    with Service(place, "threads: 2\ndrain-timeout: 300ms\nidle-timeout: 60s\n") as service:
        assert service.cli("deploy", str(TALES), "--name", "tales-moe").returncode == 0
        connection, answer = stream(service.url, 400)
        service.config.write_text("threads: 2\ndrain-timeout: 25s\nidle-timeout: 60s\n")
        for _ in range(20):
            service.programs["control"].process.send_signal(signal.SIGHUP)
            service.programs["node"].process.send_signal(signal.SIGHUP)
        said(service, "control", "drain-timeout was 300ms, is 25s")
        service.programs["control"].process.terminate()
        rest = answer.read()
        assert rest.endswith(b"data: [DONE]\n\n") and rest.count(b"data: {") == 400
        assert service.programs["control"].process.wait(10) == 0
        connection.close()


@root
def test_control_reads_its_settings_again_behind_its_own_walls(place, programs):  # noqa: F811
    """As an account of its own under what its unit allows; a file that is replaced, as editors do."""
    with Service(place, "threads: 2\nidle-timeout: 60s\n", user=USER, limited=True, bin=programs) as service:
        new = place / "new.yaml"
        new.write_text("threads: 2\nidle-timeout: 7s\nlisten: 127.0.0.1:0\n")
        shutil.move(new, service.config)
        hup(service, "node", "control")
        said(service, "control", "idle-timeout was 60s, is 7s")
