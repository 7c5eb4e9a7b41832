"""HTTP by hand, for what a client library would not send and would not show: requests as bytes, several on a connection,
and every answer as it came."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass


def request(method: str, target: str, key: str | None = None, body: dict | bytes | None = None, headers: str = "") -> bytes:
    """A request as bytes; `headers` are whole lines, each with its end."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}"
    if key is not None:
        lines += f"Authorization: Bearer {key}\r\n"
    if body is not None:
        lines += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return lines.encode("latin-1") + b"\r\n" + (body or b"")


@dataclass
class Answer:
    status: int
    #: In the order in which they came, names in lower case.
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    def without(self, *names: str) -> tuple[int, str, bytes]:
        """All that was answered but when and the request's own id, and with names that the request had itself replaced."""
        passing = {"date": "", "x-request-id": "x" * len(self.header("x-request-id") or "")}
        body, kept = self.body, [f"{key}: {passing.get(key, value)}" for key, value in self.headers]
        for name in names:
            body = body.replace(name.encode(), b"X" * len(name.encode()))
        return self.status, "\n".join(kept), body


class Wire:
    """A connection to a daemon's HTTP listener."""

    def __init__(self, url: str, timeout: float = 60):
        host, port = url.removeprefix("http://").rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def head(self, skips: bool = True) -> Answer | None:
        """The next answer's head; None: there is none to come. Interim answers are passed over."""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            return None
        headers = []
        while (field := self.file.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode().partition(":")
            headers.append((name.lower(), value.strip()))
        status = int(line.split()[1])
        return self.head() if skips and status < 200 else Answer(status, headers, b"")

    def read(self, method: str = "GET") -> Answer | None:
        """The next answer, whole; None: there is none to come."""
        answer = self.head()
        if answer is None or method == "HEAD":
            return answer
        if answer.header("transfer-encoding") == "chunked":
            answer.body = b"".join(self.chunks())
        else:
            answer.body = self.file.read(int(answer.header("content-length") or 0))
        return answer

    def chunks(self):
        """The parts of a body as they come."""
        while size := int(self.file.readline(), 16):
            yield self.file.read(size)
            self.file.readline()
        self.file.readline()

    def send(self, data: bytes):
        self.socket.sendall(data)

    def ask(self, method: str, target: str, key: str | None = None, body=None, headers: str = "") -> Answer:
        self.send(request(method, target, key, body, headers))
        answer = self.read(method)
        assert answer is not None, f"{method} {target} was not answered"
        return answer

    def answers(self, within: float) -> list[Answer]:
        """All that comes until the connection ends, or nothing for so many seconds."""
        self.socket.settimeout(within)
        found = []
        try:
            while answer := self.read():
                found.append(answer)
        except (TimeoutError, ConnectionError):
            pass
        return found
