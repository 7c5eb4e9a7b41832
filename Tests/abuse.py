"""A client that means harm, for tests: idle connections, requests a byte at a time, floods of headers, malformed
bodies. A process of its own, so that its work can be told from the daemon's; it runs until its standard input ends and then
says what it did. RATE: malformed requests a second at most; 0: as many as are answered. With AUTHORITY (a PEM file) all that is
HTTPS, and beside it there are handshakes that stop halfway, handshakes a byte at a time, and what is no handshake at all.
Usage: abuse.py HOST PORT IDLE MALFORMED RATE [AUTHORITY]"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import ssl
import sys
import time
from collections import Counter

LORIS, FLOODS, SENDERS = 100, 4, 8
#: Of TLS alone.
HALVES, DRIPS, NONSENSE = 50, 50, 4


def bodies() -> list[bytes]:
    """Each is to be answered with 4xx."""
    chance = random.Random(1)
    request = {"model": "nano", "prompt": "hello", "max_tokens": 1}
    return [
        b"", b"{", b"nonsense", b"[" * 2000, b'{"a":' * 500, b"\xff\xfe\x00", b'"' + b"a" * 5000, b"1e999999",
        json.dumps(request).encode()[:-5], json.dumps({**request, "model": 5}).encode(),
        json.dumps({**request, "max_tokens": "many"}).encode(), json.dumps({**request, "prompt": {"a": 1}}).encode(),
        json.dumps({**request, "model": "x" * 2000}).encode(), json.dumps({**request, "temperature": -1}).encode(),
        b'{"model":"nano","model":"nano"}', chance.randbytes(3000), b"{}" * 100,
    ]


class Abuse:
    def __init__(self, host: str, port: int, malformed: int, rate: float, authority: str | None = None):
        self.host, self.port, self.total, self.rate = host, port, malformed, rate
        self.tls = ssl.create_default_context(cafile=authority) if authority else None
        self.counts: Counter[str] = Counter()
        self.bodies = bodies()
        self.left, self.begin = 0, 0.0

    async def open(self):
        return await asyncio.open_connection(self.host, self.port, ssl=self.tls)

    def hello(self) -> bytes:
        """How a handshake begins."""
        outgoing = ssl.MemoryBIO()
        handshake = self.tls.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
        try:
            handshake.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return outgoing.read()

    async def handshake(self, isHalf: bool):
        """One that stops in its middle, or goes on byte by byte to its last but one."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
                self.counts["half handshakes" if isHalf else "slow handshakes"] += 1
                hello = self.hello()[:-1]
                if isHalf:
                    writer.write(hello[: len(hello) // 2])
                    await reader.read(1)
                else:
                    for byte in hello:
                        writer.write(bytes([byte]))
                        await writer.drain()
                        await asyncio.sleep(0.5)
                self.counts["handshakes cut off"] += isHalf
                writer.close()
            except OSError:
                self.counts["handshakes cut off"] += 1
            await asyncio.sleep(0.1)

    async def nonsense(self, chance: random.Random):
        """Plain HTTP, a handshake with wrong bytes in it, and what is neither."""
        while True:
            try:
                reader, writer = await asyncio.open_connection(self.host, self.port)
                bent = bytearray(self.hello())
                for _ in range(4):
                    bent[chance.randrange(len(bent))] = chance.randrange(256)
                writer.write(chance.choice([b"GET / HTTP/1.1\r\n\r\n", bytes(bent), chance.randbytes(2000), b"A" * 100_000]))
                await writer.drain()
                writer.write_eof()
                while await reader.read(65536):
                    pass
                writer.close()
            except OSError:
                pass
            self.counts["no handshakes"] += 1
            await asyncio.sleep(0.5)

    async def idle(self):
        """Opens a connection and does nothing with it; opens another when it is closed."""
        while True:
            try:
                reader, writer = await self.open()
                self.counts["idle connections"] += 1
                await reader.read(1)
                self.counts["idle connections closed"] += 1
                writer.close()
            except OSError:
                pass
            await asyncio.sleep(1)

    async def loris(self, body: bool):
        while True:
            try:
                _, writer = await self.open()
                self.counts["slow requests"] += 1
                head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                writer.write((head + ("Content-Length: 100000\r\n\r\n" if body else "X-A: ")).encode())
                while not writer.is_closing():
                    writer.write(b"a")
                    await writer.drain()
                    await asyncio.sleep(0.5)
            except OSError:
                pass
            await asyncio.sleep(0.1)

    async def flood(self):
        """Heads that are too long, one after another."""
        line = b"X-Flood: " + b"a" * 4000 + b"\r\n"
        while True:
            try:
                reader, writer = await self.open()
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
                for _ in range(100):
                    writer.write(line)
                    await writer.drain()
                self.counts["header floods"] += 1
                writer.close()
            except OSError:
                self.counts["header floods"] += 1
            await asyncio.sleep(1 if self.tls else 0.2)

    async def malformed(self, chance: random.Random):
        while self.left > 0:
            self.left -= 1
            if self.rate:
                due = self.begin + (self.total - self.left) / self.rate
                await asyncio.sleep(max(0, due - time.monotonic()))
            body = chance.choice(self.bodies)
            head = (
                "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n")
            try:
                reader, writer = await self.open()
                writer.write(head.encode() + body)
                answer = await reader.read()
                self.counts[f"malformed, answered {answer[9:12].decode() or 'nothing'}"] += 1
                writer.close()
            except OSError as error:
                self.counts[f"malformed, {type(error).__name__}"] += 1

    async def run(self, idle: int):
        tasks = [asyncio.create_task(self.idle()) for _ in range(idle)]
        while self.counts["idle connections"] < idle:
            await asyncio.sleep(0.05)
        print("idle", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        self.begin, self.left = time.monotonic(), self.total
        tasks += [asyncio.create_task(self.loris(i % 2 == 0)) for i in range(LORIS)]
        tasks += [asyncio.create_task(self.flood()) for _ in range(FLOODS)]
        if self.tls:
            tasks += [asyncio.create_task(self.handshake(i < HALVES)) for i in range(HALVES + DRIPS)]
            tasks += [asyncio.create_task(self.nonsense(random.Random(i))) for i in range(NONSENSE)]
        senders = [asyncio.create_task(self.malformed(random.Random(i))) for i in range(SENDERS)]
        await asyncio.gather(*senders)
        self.counts["seconds for malformed"] = round(time.monotonic() - self.begin)
        print("sent", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for task in tasks:
            task.cancel()
        print(json.dumps(self.counts), flush=True)


def main():
    host, port, idle, malformed, rate = sys.argv[1], *map(int, sys.argv[2:6])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    asyncio.run(Abuse(host, port, malformed, rate, *sys.argv[6:7]).run(idle))


if __name__ == "__main__":
    main()
