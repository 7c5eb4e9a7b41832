"""Both daemons as systemd runs them, without a systemd that runs: sockets are passed to them, they speak to a manager that
is a socket of the test, and as root they are two accounts under what their units allow."""

from __future__ import annotations

import ctypes
import fcntl
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from daemon import BIN, ROOT, alive, children, wait_for

UNITS = ROOT / "Deploy/systemd"


class Manager:
    """Hears what a daemon says by sd_notify."""

    def __init__(self, path: Path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        path.chmod(0o777)
        self.heard: list[tuple[float, str]] = []
        self.changed = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except OSError:
                return
            with self.changed:
                self.heard += [(time.monotonic(), line) for line in text.splitlines()]
                self.changed.notify_all()

    def lines(self) -> list[str]:
        with self.changed:
            return [line for _, line in self.heard]

    def statuses(self) -> list[str]:
        return [line.removeprefix("STATUS=") for line in self.lines() if line.startswith("STATUS=")]

    def wait(self, pattern: str, seconds: float = 20) -> str:
        return wait_for(
            lambda: next((line for line in self.lines() if re.fullmatch(pattern, line)), None), seconds,
            f"{pattern} in {self.lines()[-10:]}")

    def close(self):
        self.socket.close()


class Limits:
    """What a unit allows, as far as it can be had without systemd: capabilities, no_new_privs, system calls."""

    def __init__(self, unit: str):
        self.settings: dict[str, list[str]] = {}
        for line in (UNITS / unit).read_text().splitlines():
            if "=" in line and not line.startswith("#"):
                name, _, value = line.partition("=")
                self.settings.setdefault(name, []).append(value)
        self.calls: set[str] = set()
        for value in self.settings["SystemCallFilter"]:
            names = self._expand(value.removeprefix("~").split())
            self.calls = self.calls - names if value.startswith("~") else self.calls | names

    @staticmethod
    def _expand(words: list[str]) -> set[str]:
        names: set[str] = set()
        for word in words:
            if not word.startswith("@"):
                names.add(word)
                continue
            listed = subprocess.run(["systemd-analyze", "syscall-filter", word], capture_output=True, text=True, check=True)
            names |= Limits._expand([w for line in listed.stdout.splitlines()[1:] if not (w := line.strip()).startswith("#") and w])
        return names

    def wrap(self, user: str | None) -> list[str]:
        """The words before a command. setpriv sets the ids last, so the filter is loaded by `load`."""
        names = [n.removeprefix("CAP_").lower() for v in self.settings["CapabilityBoundingSet"] for n in v.split()]
        kept = ",".join(["-all"] + [f"+{name}" for name in names])
        words = ["setpriv", f"--bounding-set={kept}", "--no-new-privs"]
        if user:
            words += [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        else:
            words += [f"--inh-caps={kept}"]
        return words + ["--"]

    def load(self):
        """In a child before it executes: what is not listed answers EPERM, but for what setpriv itself does."""
        library = ctypes.CDLL("libseccomp.so.2")
        library.seccomp_init.restype = ctypes.c_void_p
        context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(0x00050000 | 1)))
        for call in self.calls | {"prctl", "capset", "setgroups", "setresuid", "setresgid", "setuid", "setgid"}:
            number = library.seccomp_syscall_resolve_name(call.encode())
            if number >= 0:
                library.seccomp_rule_add(context, ctypes.c_uint32(0x7FFF0000), number, 0)
        assert library.seccomp_load(context) == 0


def listen(path: Path, kind: int, mode: int, owner: int = -1, group: int = -1) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, kind)
    opened.bind(str(path))
    opened.listen(128)
    os.chown(path, owner, group)
    path.chmod(mode)
    return opened


class Program:
    """One daemon, with sockets and environment as a service has them."""

    def __init__(
        self, words: list[str], sockets: dict[str, socket.socket], manager: Manager | None = None,
        watchdog: float | None = None, environment: dict[str, str] | None = None, wrap: list[str] = [],
        before=None, stderr=subprocess.PIPE,
    ):
        environment = {**os.environ, **(environment or {})}
        if manager:
            environment["NOTIFY_SOCKET"] = str(manager.path)
        if watchdog:
            environment["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        if sockets:
            environment |= {"LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": ":".join(sockets)}
        # The pid is that of the program, which only it knows before it is one.
        script = ["sh", "-c", 'export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$@"', "sh", *wrap, *words]
        numbers = [opened.fileno() for opened in sockets.values()]

        def arrange():
            high = [fcntl.fcntl(number, fcntl.F_DUPFD, 100) for number in numbers]
            for i, number in enumerate(high):
                os.dup2(number, 3 + i, inheritable=True)
            os.closerange(3 + len(numbers), 200)
            if before:
                before()

        self.process = subprocess.Popen(
            script, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, close_fds=False, preexec_fn=arrange)
        self.out: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        threading.Thread(target=lambda: [self.out.put(line) for line in self.process.stdout], daemon=True).start()
        if stderr == subprocess.PIPE:
            threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True).start()

    def url(self) -> str:
        line = self.out.get(timeout=30)
        assert line.startswith("listening "), line
        return line.split()[1]

    def stop(self) -> int:
        below = children(self.process.pid)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(10)
        wait_for(lambda: not any(alive(pid) for pid in below), 2, "its processes gone")
        return code


class Service:
    """node and control as two units, on folders of a test."""

    def __init__(
        self, folder: Path, config: str = "", watchdog: float | None = None, user: str | None = None, limited: bool = False,
        http: bool = False, bin: Path = BIN,
    ):
        self.run, self.folder, self.bin = folder / "run", folder, bin
        self.shards, self.registry = folder / "data", folder / "data/control"
        for path, mode in [(self.run, 0o755), (self.shards, 0o755), (self.registry, 0o700)]:
            path.mkdir(mode=mode, exist_ok=True)
        self.config = folder / "locum.yaml"
        self.config.write_text(config + ("" if "listen:" in config else "listen: 127.0.0.1:0\n"))
        uid = gid = -1
        accounts: dict[str, list[str]] = {"node": [], "control": []}
        if user:
            uid = gid = int(user)
            os.chown(self.registry, uid, gid)
            accounts = {"node": ["--control-user", user, "--group", user], "control": ["--group", user]}
        self.managers = {name: Manager(folder / f"{name}.notify") for name in ("node", "control")}
        self.sockets = {
            "node": {
                "node": listen(self.run / "node.sock", socket.SOCK_STREAM, 0o600, uid),
                "invoke": listen(self.run / "invoke.sock", socket.SOCK_SEQPACKET, 0o660, -1, gid),
            },
            "control": {"admin": listen(self.run / "admin.sock", socket.SOCK_STREAM, 0o660, -1, gid)},
        }
        if http:
            opened = socket.socket()
            opened.bind(("127.0.0.1", 0))
            opened.listen(128)
            self.sockets["control"]["http"] = opened
        limits = {name: Limits(f"locum-{name}.service") if limited else None for name in ("node", "control")}
        self.programs: dict[str, Program] = {}
        for name, data in [("node", self.shards), ("control", self.registry)]:
            limit = limits[name]
            own = user if name == "control" else None
            wrap = limit.wrap(own) if limit else ["setpriv", f"--reuid={own}", f"--regid={own}", "--clear-groups", "--"] if own else []
            self.programs[name] = Program(
                self.words(name, data) + accounts[name], self.sockets[name], self.managers[name], watchdog, wrap=wrap,
                before=limit.load if limit else None)
        self.url = ""

    def words(self, name: str, data: Path) -> list[str]:
        return [str(self.bin / f"locum-{name}"), "--data", str(data), "--run", str(self.run), "--config", str(self.config)]

    def start(self) -> "Service":
        self.url = self.programs["control"].url()
        return self

    def cli(self, *arguments: str, user: int | None = None, groups: list[int] = [], input: str = "") -> subprocess.CompletedProcess:
        """The CLI on this service's sockets, as /run/locum would be found."""
        more = {} if user is None else {"user": user, "group": user, "extra_groups": groups}
        data = self.folder / "cli"
        data.mkdir(exist_ok=True)
        if not (data / "run").exists():
            (data / "run").symlink_to(self.run)
        return subprocess.run(
            [str(self.bin / "locum"), *arguments], env={**os.environ, "LOCUM_DATA": str(data)}, input=input,
            capture_output=True, text=True, timeout=60, **more)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        codes = {name: self.programs[name].stop() for name in ("control", "node")}
        for sockets in self.sockets.values():
            for opened in sockets.values():
                opened.close()
        for manager in self.managers.values():
            manager.close()
        if kind is not None:
            for program in self.programs.values():
                print("".join(program.errors[-40:]))
        else:
            assert codes == {"control": 0, "node": 0}, codes
