"""The package on a machine of its own, from its installation to its purge, with everything that a host does to it in
between. One machine lives through all of it, in this order."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from certificates import Authority
from daemon import BIN, ROOT, TALES
from machine import CommandFailed, Machine

IMAGE = Path(os.environ["LOCUM_VM"]).resolve()
PACKAGES = sorted((ROOT / "build").glob("locum_*_amd64.deb"), key=lambda path: path.stat().st_mtime)
ASK = "locum generate tales-moe 'Once upon a time' --max-tokens 4 --temperature 0"
#: What belongs to the system, not to a package: it changes by itself or by any installation.
OTHERS = ("/proc", "/sys", "/run", "/tmp", "/dev", "/mnt", "/root", "/var/tmp", "/var/log", "/var/cache", "/var/lib/dpkg",
          "/var/lib/apt", "/var/lib/systemd", "/var/backups")


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    if not PACKAGES:
        pytest.fail("build/ holds no package: make deb")
    share = tmp_path_factory.mktemp("share")
    shutil.copy(PACKAGES[-1], share / "locum.deb")
    shutil.copytree(TALES, share / "tales")
    add_hostile_suite(share)
    machine = Machine(tmp_path_factory.mktemp("vm"), IMAGE, share)
    try:
        print(f"up after {machine.boot():.0f} s")
        machine.before = files(machine)
        yield machine
    finally:
        if machine.process:
            machine.cut_power()


def add_hostile_suite(share: Path):
    """The tests' bundle and the probe program, with the libraries of the toolchain that the machine does not have."""
    bundle, probe = BIN / "locumPackageTests.xctest", BIN / "locum-probe"
    if not bundle.exists():
        return
    (share / "suite/lib").mkdir(parents=True)
    for file in (bundle, probe):
        shutil.copy(file, share / "suite")
    for line in subprocess.run(["ldd", str(bundle)], capture_output=True, text=True, check=True).stdout.splitlines():
        name, _, path = line.strip().partition(" => ")
        path = path.split(" ")[0]
        # The C library is the machine's own.
        if path.startswith("/") and not name.startswith(("libc.", "libm.", "ld-linux", "libpthread.", "libdl.", "librt.")):
            shutil.copy(path, share / "suite/lib" / name)


def files(machine: Machine) -> set[str]:
    pruned = " -o ".join(f"-path {path}" for path in OTHERS)
    return set(machine.run(f"find / \\( {pruned} \\) -prune -o -print").splitlines())


def wait_for_answer(machine: Machine, text: str, seconds: float = 120):
    """The service comes up beside the rest of the system."""
    end = time.monotonic() + seconds
    while True:
        try:
            assert machine.run(ASK) == text
            return
        except CommandFailed as failure:
            assert failure.code == 4 and time.monotonic() < end, str(failure)
            time.sleep(1)


def test_the_machine_has_what_the_sandbox_wants(machine):
    assert machine.run("stat -f -c %T /sys/fs/cgroup").strip() == "cgroup2fs"
    assert "landlock" in machine.run("cat /sys/kernel/security/lsm")


def test_the_hostile_suite_finds_no_way_out(machine):
    if not machine.run("ls /mnt").count("suite"):
        pytest.skip("LOCUM_BIN holds no tests: make debug")
    # Without the thousands of workers that try every call by number (half an hour on this processor), without the times
    # that a worker takes, and without the tests of the policy files, which are not here: `make test` has those.
    out = machine.run(
        "cd /tmp && LD_LIBRARY_PATH=/mnt/suite/lib SWIFT_BACKTRACE=enable=no "
        "/mnt/suite/locumPackageTests.xctest --testing-library swift-testing --filter '^SandboxTests' "
        "--skip 'NumberedCallTests|PolicyTests|LiveWorkerTests/small' 2>&1", timeout=900, check=False)
    print(out[-4000:])
    assert "passed" in out.splitlines()[-1] and "failed" not in out.splitlines()[-1]


def test_the_package_installs_and_serves(machine):
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get install -y /mnt/locum.deb")
    for service in ("locum-node", "locum-control"):
        assert machine.run(f"systemctl is-active {service}").strip() == "active", machine.run(f"journalctl -u {service}")
    machine.run("locum deploy /mnt/tales --name tales-moe")
    machine.text = machine.run(ASK)
    assert machine.text.strip()
    sandbox = json.loads(machine.run("locum status --json"))["sandbox"]
    assert sandbox["landlock"].startswith("version"), sandbox
    assert "pids" in sandbox["cgroup"] and "memory" in sandbox["cgroup"], sandbox
    # What the status says is what the kernel holds, for a worker that lives.
    machine.run(ASK)
    pid = max((row["pid"] for row in json.loads(machine.run("locum ps --json"))))
    group = "/sys/fs/cgroup" + machine.run(f"cat /proc/{pid}/cgroup").strip().removeprefix("0::")
    assert "locum-node.service/" in group
    for folder in (group, group + "-import"):
        for limit in ("memory.max", "pids.max", "cpu.weight"):
            assert int(machine.run(f"cat {folder}/{limit}")) > 0, (folder, limit)


def test_doctor_says_what_is_true_here(machine):
    report = json.loads(machine.run("locum doctor --json"))
    checks = {check["name"]: check for check in report["checks"]}
    problems = [check for check in report["checks"] if check["state"] == "problem"]
    assert report["ok"] and not problems, problems
    assert machine.run("uname -r").strip() in checks["kernel"]["found"]
    assert checks["landlock"]["state"] == "ok"
    assert checks["cgroup"]["found"].startswith("v2")
    assert "our own locum-control" in checks["port"]["found"]
    assert "1 models" in checks["daemon"]["found"]
    # And by an ordinary user, with a folder of his own.
    text = machine.run("su tester -c 'locum doctor --listen 127.0.0.1:0 --json'")
    assert json.loads(text)["ok"], text


def test_after_a_reboot_it_answers_without_a_hand(machine):
    print(f"back after {machine.reboot():.0f} s")
    wait_for_answer(machine, machine.text)


def test_an_upgrade_lets_answers_finish_and_keeps_models(machine):
    machine.run(f"({ASK.replace('4 --temp', '60 --temp')} > /root/answer; echo $? > /root/code) &")
    time.sleep(3)
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get install -y --reinstall /mnt/locum.deb", timeout=600)
    machine.run("while [ ! -e /root/code ]; do sleep 0.2; done")
    assert machine.run("cat /root/code").strip() == "0"
    assert machine.run("cat /root/answer").startswith(machine.text.rstrip("\n"))
    for service in ("locum-node", "locum-control"):
        assert machine.run(f"systemctl is-active {service}").strip() == "active", machine.run(f"journalctl -u {service}")
    wait_for_answer(machine, machine.text)
    print(machine.run("journalctl -u locum-control -o cat | tail -5"))


def test_the_journal_shows_what_was_done_for_a_request(machine):
    machine.run("locum evict --all")
    body = json.dumps({"model": "tales-moe", "prompt": "Once", "max_tokens": 2})
    machine.run(
        "curl -sSf --retry 20 --retry-connrefused -H 'Content-Type: application/json' -H 'X-Request-Id: order-66' "
        f"-d '{body}' http://127.0.0.1:8420/v1/completions")
    said = {}
    for unit in ("locum-control", "locum-node"):
        said[unit] = machine.run(f"journalctl --no-pager -o cat -u {unit} LOCUM_REQUEST=order-66")
        assert "tales-moe/router" in said[unit] and "tales-moe/L" in said[unit], said
    assert "starts" in said["locum-control"] and "ready after" in said["locum-node"], said
    assert "tales-moe/router" in machine.run("locum logs order-66")


def test_the_key_of_https_can_be_a_credential(machine, tmp_path):
    """Its file is root's alone, and control, which is not root, serves with it."""
    authority = Authority(tmp_path)
    certificate, key = (text.decode() for text in authority.issue("localhost"))
    folder = "/etc/systemd/system/locum-control.service.d"
    for path, text in [("/root/authority.pem", authority.path.read_text()), ("/etc/locum/tls/certificate.pem", certificate),
                       ("/etc/locum/tls/key.pem", key)]:
        machine.run(f"install -D -m 600 /dev/stdin {path} <<'END'\n{text}END")
    machine.run(
        f"install -D -m 644 /usr/share/locum/systemd/tls-credentials.conf {folder}/tls.conf && systemctl daemon-reload "
        "&& systemctl restart locum-control")
    ask = "curl -sS --retry 20 --retry-connrefused --cacert /root/authority.pem https://localhost:8420/health"
    assert "ok" in machine.run(ask), machine.run("journalctl -u locum-control | tail")
    assert "HTTPS port" in machine.run("curl -sS http://localhost:8420/health")
    machine.run(f"rm -r {folder} /etc/locum/tls /root/authority.pem && systemctl daemon-reload && systemctl restart locum-control")
    wait_for_answer(machine, machine.text)


# An emulated processor takes some 20 s for this model.
@pytest.mark.parametrize("seconds", [1, 6, 14])
def test_power_that_fails_during_a_deployment_leaves_old_or_new(machine, seconds):
    machine.start("locum deploy /mnt/tales --name other --quantize q8_0")
    time.sleep(seconds)
    machine.cut_power()
    machine.boot()
    wait_for_answer(machine, machine.text)
    names = {model["name"] for model in json.loads(machine.run("locum list --json"))}
    assert names in ({"tales-moe"}, {"tales-moe", "other"})
    print(f"cut after {seconds} s: {sorted(names)}")
    machine.run("locum verify")
    if "other" in names:
        machine.run("locum generate other 'Once upon a time' --max-tokens 3")
        machine.run("locum rm other")


def test_purged_it_leaves_nothing(machine):
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get purge -y locum")
    left = sorted(files(machine) - machine.before)
    assert not left, left
    assert not machine.run("pgrep -a locum", check=False)
