"""A real `locum up` for tests: started on a folder of its own, driven through its CLI and API, and checked at
the end for what it must not leave behind. LOCUM_BIN names the folder of the programs."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import queue
import signal
import socket
import subprocess
import termios
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(os.environ.get("LOCUM_BIN", ROOT / ".build/debug")).resolve()
NANO = ROOT / "Tests/Conformance/nano"
TALES = ROOT / "Runtime/Models/tales-moe"


#: What tests measured, for the end of the run (conftest.py).
FIGURES: list[str] = []


def figure(text: str):
    print(text)
    FIGURES.append(text)


class Failed(Exception):
    def __init__(self, code: int, out: str, err: str):
        super().__init__(f"exit code {code}: {err.strip() or out.strip()}")
        self.code, self.out, self.err = code, out, err


def children(pid: int) -> list[int]:
    """All descendants, whatever namespace they are in."""
    by_parent: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            by_parent.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        for child in by_parent.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A file system of that size on a folder that is made for it, for a while. Takes root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def wait_for(condition, seconds: float, what: str):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


class Daemon:
    def __init__(self, data: Path, *options: str, user: int | None = None, bin: Path = BIN):
        self.data, self.bin, self.user = data, bin, user
        self.options = options
        #: Beside the test's own, for `locum up` and what it starts.
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen | None = None
        self.url = ""
        self.errors: list[str] = []
        #: In seconds.
        self.longest_stop = 2.0

    def _as_user(self) -> dict:
        return {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}

    def start(
        self, listen: str = "127.0.0.1:0", wait: float = 30, session: bool = False, terminal: int | None = None
    ) -> "Daemon":
        """In a session of its own when told so; there `terminal` becomes its terminal."""
        command = [str(self.bin / "locum"), "up", "--data", str(self.data), "--listen", listen, *self.options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **self.environment}, start_new_session=session or terminal is not None,
            **({} if terminal is None else {"preexec_fn": lambda: fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)}),
            **self._as_user()
        )
        lines: queue.Queue[str | None] = queue.Queue()

        def read_out(stream):
            for line in stream:
                lines.put(line)
            lines.put(None)

        def read_err(stream):
            for line in stream:
                self.errors.append(line)

        threading.Thread(target=read_out, args=(self.process.stdout,), daemon=True).start()
        threading.Thread(target=read_err, args=(self.process.stderr,), daemon=True).start()
        try:
            line = lines.get(timeout=wait)
        except queue.Empty:
            self.kill()
            raise AssertionError("locum up did not get ready: " + "".join(self.errors)) from None
        if line is None or not line.startswith("ready"):
            self.process.wait(5)
            raise AssertionError(f"locum up said {line!r}: " + "".join(self.errors))
        self.url = line.split()[1]
        return self

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def kill_all(self):
        """kill -9 of `locum up` and everything below it: all that a power cut leaves of processes."""
        assert self.process
        below = children(self.process.pid)
        self.kill()
        for pid in below:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for(lambda: not any(alive(pid) for pid in below), 5, "all processes gone")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it in order, within `longest_stop` seconds, and checks what it must leave behind: nothing."""
        assert self.process
        if self.process.poll() is not None:
            return self.process.returncode
        before = children(self.process.pid)
        begin = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(15)
        took = time.monotonic() - begin
        assert took < self.longest_stop, f"locum up took {took:.2f} s to end"
        left = [(pid, name_of(pid)) for pid in before if alive(pid)]
        assert not left, f"processes left: {left}"
        sockets = list((self.data / "run").glob("*.sock"))
        assert not sockets, f"sockets left: {sockets}"
        return code

    def __enter__(self):
        return self if self.process else self.start()

    def __exit__(self, kind, *_):
        if kind is not None:
            print("".join(self.errors[-40:]))
        code = self.stop()
        if kind is None:
            assert code == 0, f"locum up ended with {code}: " + "".join(self.errors[-40:])

    def run(self, *arguments: str, input: str | bytes | None = None, timeout: float = 120, **more) -> str:
        binary = isinstance(input, bytes)
        done = subprocess.run(
            [str(self.bin / "locum"), *arguments],
            input=input, capture_output=True, text=not binary, timeout=timeout,
            env={**os.environ, "LOCUM_DATA": str(self.data)}, **self._as_user(), **more,
        )
        if done.returncode:
            raise Failed(done.returncode, str(done.stdout), str(done.stderr))
        return done.stdout

    def json(self, *arguments: str, **more):
        return json.loads(self.run(*arguments, "--json", **more))

    def deploy(self, source: Path | str, *options: str):
        return self.json("deploy", str(source), *options, timeout=300)

    def admin(self, method: str, path: str, body: dict | None = None, timeout: float = 20) -> tuple[int, object]:
        """A request on the administration socket, without a process of its own: status and answer. A POST has a body."""
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(timeout)
            connection.sock.connect(str(self.data / "run/admin.sock"))
            text = json.dumps(body or {}) if method == "POST" else None
            connection.request(method, path, text, {"Content-Type": "application/json"} if text else {})
            answer = connection.getresponse()
            return answer.status, json.load(answer)
        finally:
            connection.close()

    def ps(self) -> list[dict]:
        return self.json("ps")

    def status(self) -> dict:
        return self.json("status")

    def shard(self, function: dict) -> Path:
        """The file of a function as `locum describe` tells of it."""
        return next((self.data / "shards").rglob(f"{function['digest']}*"))

    def answer_seconds(self, model: str, prompt: str | list[int], tokens: int) -> float:
        """What a client waits for a whole answer of so many tokens, not streamed."""
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        request = urllib.request.Request(
            self.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        begin = time.perf_counter()
        with urllib.request.urlopen(request, timeout=600) as answer:
            assert json.load(answer)["usage"]["completion_tokens"] == tokens
        return time.perf_counter() - begin

    def daemons(self) -> dict[str, int]:
        """Pids of node, control and zygote by name. What they fork has their name until it has its own: parents win."""
        assert self.process
        names = [(name_of(pid), pid) for pid in reversed(children(self.process.pid))]
        return {name: pid for name, pid in names if name.startswith("locum-")}

    def workers(self) -> list[int]:
        """Pids of processes below `locum up` that are no daemon."""
        assert self.process
        daemons = ("locum-node", "locum-control", "locum-zygote", "")
        return [pid for pid in children(self.process.pid) if name_of(pid) not in daemons]

    def ask(self, prompt: str, model: str = "tales", tokens: int = 3, timeout: float = 60) -> tuple[int, str]:
        """A greedy answer of so many tokens: status and text, or the error's message."""
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
        request = urllib.request.Request(
            self.url + "/v1/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.load(answer)["choices"][0]["text"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]["message"]

    def eval(self, model: str, ids: Path, out: Path):
        done = subprocess.run(
            [str(self.bin / "locum-eval"), model, "--ids", str(ids), "--out", str(out), "--data", str(self.data)],
            capture_output=True, text=True, timeout=300,
        )
        assert done.returncode == 0, done.stderr

    def client(self, **more):
        import openai

        return openai.OpenAI(base_url=self.url + "/v1", api_key="none", max_retries=0, **more)
