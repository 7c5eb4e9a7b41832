"""A virtual machine of Debian 12 with its own kernel, systemd, cgroup v2 and Landlock, for tests. It is emulated (TCG), so
it runs on any host. Its disk is an overlay over the image that make-image made. Commands go to qemu's guest agent over a
virtio port; there is no network. A power cut is a killed qemu: what the guest had flushed is on the disk, what was in
its memory is gone."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
from pathlib import Path


class CommandFailed(Exception):
    def __init__(self, command: str, code: int, out: str, err: str):
        super().__init__(f"{command!r} ended with {code} in the machine: {err.strip() or out.strip()}")
        self.code, self.out, self.err = code, out, err


class Machine:
    def __init__(self, folder: Path, image: Path, share: Path, cores: int = 2, memory: str = "3G"):
        """`folder` gets the disk, the console's log and sockets. What lies in `share` is seen at /mnt, read-only."""
        self.folder, self.image, self.cores, self.memory = folder, image, cores, memory
        self.process: subprocess.Popen | None = None
        self.agent: socket.socket | None = None
        self.unread = b""
        self.syncs = 0
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image / "root.img"), str(folder / "disk")],
            check=True)
        size = sum(path.stat().st_size for path in share.rglob("*") if path.is_file())
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-d", str(share), str(folder / "share"), f"{(size >> 20) * 5 // 4 + 64}M"], check=True)

    # Power

    def boot(self, seconds: float = 180) -> float:
        """Switches it on; returns when it is up, and the seconds that took."""
        begin = time.monotonic()
        port = self.folder / "agent"
        port.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(self.cores), "-m", self.memory,
             "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
             "-kernel", str(self.image / "vmlinuz"), "-initrd", str(self.image / "initrd"),
             "-append", "root=/dev/vda ro console=ttyS0 quiet panic=-1",
             "-serial", f"file:{self.folder / 'console'}",
             "-drive", f"file={self.folder / 'disk'},if=virtio,format=qcow2",
             "-drive", f"file={self.folder / 'share'},if=virtio,format=raw,readonly=on",
             "-device", "virtio-rng-pci", "-device", "virtio-serial",
             "-chardev", f"socket,id=agent,path={port},server=on,wait=off",
             "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"],
            stdin=subprocess.DEVNULL)
        while not port.exists():
            assert self.process.poll() is None, "qemu did not start"
            time.sleep(0.05)
        self.agent = socket.socket(socket.AF_UNIX)
        self.agent.connect(str(port))
        self.unread = b""
        self._wait_up(begin + seconds)
        return time.monotonic() - begin

    def reboot(self, seconds: float = 180) -> float:
        """In order, by systemd; returns when it is up again, and the seconds that took."""
        begin, before = time.monotonic(), self.boot_id()
        self._send("guest-shutdown", mode="reboot")
        time.sleep(2)
        while True:
            self._wait_up(begin + seconds)
            if self.boot_id() != before:
                return time.monotonic() - begin
            time.sleep(1)

    def cut_power(self):
        assert self.process
        self.process.kill()
        self.process.wait()
        self.process = None
        if self.agent:
            self.agent.close()

    def boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def console(self) -> str:
        return (self.folder / "console").read_text(errors="replace")

    # Commands

    def run(self, command: str, timeout: float = 300, check: bool = True) -> str:
        """What a shell command of root's wrote; `CommandFailed` when it does not answer 0 (and `check`)."""
        end = time.monotonic() + timeout
        pid = self.start(command)
        while True:
            state = self._ask("guest-exec-status", pid=pid)
            if state["exited"]:
                break
            if time.monotonic() > end:
                raise TimeoutError(f"{command!r} took more than {timeout} s in the machine")
            time.sleep(0.1)
        out, err = (base64.b64decode(state.get(name, "")).decode(errors="replace") for name in ("out-data", "err-data"))
        code = state.get("exitcode", 128 + state.get("signal", 0))
        if code and check:
            raise CommandFailed(command, code, out, err)
        return out

    def start(self, command: str) -> int:
        """Starts a shell command and does not wait for it."""
        return self._ask("guest-exec", path="/bin/bash", arg=["-c", command], **{"capture-output": True})["pid"]

    def _wait_up(self, deadline: float):
        """Until the agent answers and systemd has started everything."""
        assert self.agent and self.process
        while True:
            assert self.process.poll() is None, "qemu ended: " + self.console()[-2000:]
            if time.monotonic() > deadline:
                raise TimeoutError("the machine did not come up: " + self.console()[-2000:])
            # Answers to earlier tries, and halves of answers that a reboot cut off, are passed over by the number.
            self.syncs += 1
            number = os.getpid() * 10_000 + self.syncs
            try:
                self._send("guest-sync", id=number)
                while self._receive(2).get("return") != number:
                    pass
                break
            except TimeoutError:
                continue
        self.run("systemctl is-system-running --wait; mountpoint -q /mnt || mount -o ro /dev/vdb /mnt")

    def _ask(self, name: str, **arguments):
        self._send(name, **arguments)
        answer = self._receive(60)
        if "error" in answer:
            raise RuntimeError(f"{name}: {answer['error']}")
        return answer["return"]

    def _send(self, name: str, **arguments):
        assert self.agent
        self.agent.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")

    def _receive(self, seconds: float) -> dict:
        assert self.agent
        end = time.monotonic() + seconds
        while True:
            line, found, rest = self.unread.partition(b"\n")
            if found:
                self.unread = rest
                try:
                    return json.loads(line)
                except ValueError:
                    continue
            self.agent.settimeout(max(0.01, end - time.monotonic()))
            try:
                part = self.agent.recv(1 << 20)
            except socket.timeout:
                raise TimeoutError("the machine's agent does not answer") from None
            if not part:
                raise RuntimeError("qemu closed the agent's port: " + self.console()[-2000:])
            self.unread += part
