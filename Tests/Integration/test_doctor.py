"""`locum doctor` tells the truth: its lines against facts that are had otherwise, and where it says that Locum cannot run,
`locum up` really fails for the same reason. The hosts that lack something are made by the kernel's own means."""

import ctypes
import json
import os
import resource
import shlex
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from daemon import BIN, Daemon

NAMES = {
    "kernel", "kernel_calls", "seccomp", "landlock", "pressure", "core_scheduling", "user_namespaces", "namespaces",
    "sandbox", "cgroup", "memory", "locked_memory", "open_files", "processes", "cpu", "mitigations", "time", "user",
    "programs", "data_folder", "run_folder", "disk", "disk_speed", "port", "daemon",
}
USERS = [None, 12345] if os.geteuid() == 0 else [None]
libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """Somebody on a host, with a folder of his own; `within` is what his processes are started in."""

    def __init__(self, home: Path, user: int | None):
        self.home, self.user, self.data = home, user, home / "data"
        self.bin = home / "bin"
        self.within: list[str] = []
        self.restrict = None

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess:
        identity = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        return subprocess.run(
            [*self.within, str(self.bin / "locum"), *arguments, "--data", str(self.data)], capture_output=True, text=True,
            timeout=timeout, preexec_fn=self.restrict, cwd=self.home, **identity)

    def doctor(self, listen: str = "127.0.0.1:0") -> dict[str, dict]:
        done = self.run("doctor", "--listen", listen, "--json")
        assert done.returncode in (0, 1), done.stderr
        assert done.stderr == ""
        report = json.loads(done.stdout)
        checks = {check["name"]: check for check in report["checks"]}
        assert set(checks) == NAMES
        for check in report["checks"]:
            assert set(check) == {"name", "state", "found", "advice"} and check["found"], check
            assert (check["state"] == "ok") == (check["advice"] == ""), check
        problems = [check for check in report["checks"] if check["state"] == "problem"]
        assert report["ok"] == (not problems) == (done.returncode == 0)
        return checks

    def up_fails(self, listen: str = "127.0.0.1:0") -> str:
        """What `locum up` says when it does not start."""
        done = self.run("up", "--listen", listen)
        assert done.returncode == 1 and "ready" not in done.stdout, done
        return done.stderr


class Hidden(Daemon):
    """`locum up` within what a host's processes are started in."""

    def __init__(self, host: Host):
        super().__init__(host.data)
        wrapper = host.home / "up"
        wrapper.mkdir()
        script = wrapper / "locum"
        script.write_text("#!/bin/sh\nexec " + shlex.join([*host.within, str(host.bin / "locum")]) + ' "$@"\n')
        script.chmod(0o755)
        self.bin = wrapper


@pytest.fixture(params=USERS, ids=lambda user: "root" if user is None and os.geteuid() == 0 else "user")
def host(request, tmp_path):
    # Not below a folder that only root may enter.
    home = Path("/tmp") / f"locum-doctor-{os.getpid()}"
    home.mkdir(mode=0o700)
    try:
        programs = lambda folder, names: [n for n in names if not n.startswith("locum") or "." in n]  # noqa: E731
        shutil.copytree(BIN, home / "bin", ignore=programs)
        if request.param is not None:
            subprocess.run(["chown", "-R", f"{request.param}:{request.param}", str(home)], check=True)
        yield Host(home, request.param)
    finally:
        shutil.rmtree(home)


def hosts(users: list[int | None], what: str):
    """For tests that are about some users only."""
    return pytest.mark.parametrize(
        "host", users or [pytest.param(None, marks=pytest.mark.skip(reason=what))], indirect=True,
        ids=lambda user: "root" if user is None and os.geteuid() == 0 else "user")


of_root = hosts([None] if os.geteuid() == 0 else [], "needs root: takes something from root")
of_users = hosts([user for user in USERS if user is not None or os.geteuid() != 0], "is about ordinary users")


def test_what_it_finds_is_what_is_there(host):
    checks = host.doctor()
    assert [check for check in checks.values() if check["state"] == "problem"] == []
    name, release, machine = os.uname().sysname, os.uname().release, os.uname().machine
    assert checks["kernel"]["found"] == f"{name} {release}, {machine}"
    landlock = libc.syscall(444, None, 0, 1)
    assert checks["landlock"]["found"] == f"version {landlock}" if landlock > 0 else checks["landlock"]["state"] == "note"
    gibibytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    assert checks["memory"]["found"].startswith(f"{gibibytes:.1f} GiB")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert f"at most {hard} " in checks["open_files"]["found"]
    free = shutil.disk_usage(host.home).free / 2**30
    told = float(checks["disk"]["found"].split(", ")[1].split()[0])
    assert abs(told - free) < 2, (told, free)
    uid = os.geteuid() if host.user is None else host.user
    assert f"(uid {uid})" in checks["user"]["found"]
    assert f"{len(os.sched_getaffinity(0))} core" in checks["cpu"]["found"]
    flags = Path("/proc/cpuinfo").read_text().split()
    wide = {"avx2", "fma", "f16c"} <= set(flags) and "LOCUM_ISA" not in os.environ
    assert checks["cpu"]["found"].endswith(("avx2", "avxvnni", "avx512")) == wide
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    opened = [path.name for path in folder.iterdir() if "vulnerable" in path.read_text().lower()]
    assert all(name in checks["mitigations"]["found"] for name in opened)
    assert (checks["mitigations"]["state"] == "note") == bool(opened)
    assert not host.data.exists(), "it makes nothing"


def test_it_says_of_the_sandbox_what_a_daemon_says(host):
    before = host.doctor()
    with Daemon(host.data, user=host.user, bin=host.bin) as daemon:
        sandbox = daemon.status()["sandbox"]
        after = host.doctor(daemon.url.removeprefix("http://"))
        assert "our own locum-control" in after["port"]["found"]
        assert f"cgroup {sandbox['cgroup']}" in after["daemon"]["found"]
        assert f"landlock {sandbox['landlock']}" in after["daemon"]["found"]
        assert "admin.sock" in after["run_folder"]["found"]
        budget = daemon.status()["memory"]["budget_bytes"] / 2**30
        assert f"`locum up` takes at most {budget:.1f} GiB" in before["memory"]["found"]
    state = sandbox["cgroup"].removeprefix("v2: ").removeprefix("absent: ")
    assert before["cgroup"]["found"].endswith(state) and (before["cgroup"]["state"] == "ok") == sandbox["cgroup"].startswith("v2")
    for feature in ("identity", "namespaces", "seccomp", "capabilities"):
        assert f"{feature}: {sandbox[feature]}" in before["sandbox"]["found"]


def test_as_text_it_ends_with_a_verdict(host):
    done = host.run("doctor", "--listen", "127.0.0.1:0")
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "Locum can run here."
    assert {line.split()[1] for line in done.stdout.splitlines() if line.split()[0] in ("ok", "note", "problem")} == NAMES


def test_a_port_that_is_taken(host):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        listen = f"127.0.0.1:{holder.getsockname()[1]}"
        port = host.doctor(listen)["port"]
        assert port["state"] == "problem"
        # Another user's process is not to be seen, but its user is.
        who = f"(process {os.getpid()})" if host.user is None else f"user {os.geteuid()}"
        assert who in port["found"]
        assert "Address already in use" in host.up_fails(listen)
    assert host.doctor(listen)["port"]["state"] == "ok"


def test_a_folder_that_cannot_be_used(host):
    host.data.write_text("a file")
    assert host.doctor()["data_folder"]["state"] == "problem"
    assert str(host.data) in host.up_fails()
    host.data.unlink()
    if host.user is not None:
        host.data = Path("/root/data")
        folder = host.doctor()["data_folder"]
        assert folder["state"] == "problem" and "Permission denied" in folder["found"]
        assert "Permission denied" in host.up_fails()


def the_sandbox_fails(host, because: str) -> dict[str, dict]:
    """Doctor and `locum up` give the same reason."""
    checks = host.doctor()
    assert checks["sandbox"]["state"] == "problem" and because in checks["sandbox"]["found"], checks["sandbox"]
    reason = checks["sandbox"]["found"].split("; ")[0]
    errors = host.up_fails()
    assert reason in errors, (reason, errors)
    return checks


@of_users
def test_without_user_namespaces(host):
    def restrict():
        # A user namespace of his own in which no further one may be made.
        uid, gid = os.getuid(), os.getgid()
        libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: else /proc/self belongs to root after the change of user
        if libc.unshare(0x10000000):
            raise OSError(ctypes.get_errno(), "unshare")
        for file, text in [
            ("/proc/self/setgroups", "deny"), ("/proc/self/uid_map", f"{uid} {uid} 1"),
            ("/proc/self/gid_map", f"{gid} {gid} 1"), ("/proc/sys/user/max_user_namespaces", "0"),
        ]:
            Path(file).write_text(text)

    host.restrict = restrict
    checks = the_sandbox_fails(host, "No space left on device")
    users = checks["user_namespaces"]
    assert users["state"] == "problem" and "max_user_namespaces = 0" in users["found"]
    assert "sysctl -w user.max_user_namespaces" in users["advice"]
    assert checks["namespaces"]["state"] == "problem"


@of_root
def test_a_root_without_its_rights(host):
    host.within = ["setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"]
    checks = the_sandbox_fails(host, "Operation not permitted")
    assert checks["user"]["state"] == "problem" and "CAP_SYS_ADMIN" in checks["user"]["found"]
    assert checks["namespaces"]["state"] == "problem"


def test_where_a_filter_hides_clone3(host):
    def restrict():
        class Program(ctypes.Structure):
            _fields_ = [("count", ctypes.c_ushort), ("code", ctypes.c_void_p)]

        # load the number; is it clone3 (435 everywhere)? ENOSYS; else allowed
        code = b"".join(part.to_bytes(8, "little") for part in [
            0x20, 0x15 | 1 << 24 | 435 << 32, 0x06 | (0x00050000 | 38) << 32, 0x06 | 0x7FFF0000 << 32])
        held = ctypes.create_string_buffer(code, len(code))
        program = Program(4, ctypes.cast(held, ctypes.c_void_p))
        libc.prctl(38, 1, 0, 0, 0)
        if libc.prctl(22, 2, ctypes.byref(program)):
            raise OSError(ctypes.get_errno(), "seccomp")

    host.restrict = restrict
    checks = the_sandbox_fails(host, "Function not implemented")
    assert checks["kernel_calls"]["state"] == "problem" and "clone3" in checks["kernel_calls"]["found"]


@of_root
@pytest.mark.parametrize("hiding", [
    "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys", "mount -t tmpfs none /proc/sys",
], ids=["read-only", "hidden"])
def test_a_host_that_hides_much_is_no_problem(host, hiding):
    host.within = [
        "unshare", "--mount", "--propagation", "private", "sh", "-c",
        f"mount -t tmpfs none /sys && {hiding} && exec \"$@\"", "sh",
    ]
    checks = host.doctor()
    assert [check for check in checks.values() if check["state"] == "problem"] == []
    assert checks["mitigations"]["state"] == "note" and "unknown" in checks["time"]["found"]
    assert checks["cgroup"]["state"] == "note"
    with Hidden(host):
        pass


def test_a_missing_program(host):
    (host.bin / "locum-zygote").unlink()
    checks = host.doctor()
    assert checks["programs"]["state"] == "problem" and "locum-zygote" in checks["programs"]["found"]
    assert checks["sandbox"]["state"] == "problem"
    assert "locum-zygote" in host.up_fails()


def test_a_computing_path_that_is_slow(host, monkeypatch):
    monkeypatch.setenv("LOCUM_ISA", "scalar")
    cpu = host.doctor()["cpu"]
    assert cpu["state"] == "note" and cpu["found"].endswith("scalar")
