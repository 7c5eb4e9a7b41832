"""A file system with faults, for tests: one flat folder shown through FUSE as it is, except that reads of a file may
fail with EIO or take their time. Speaks the kernel's protocol (uapi/linux/fuse.h, 7.31) itself, so that no library is
needed; only what reading, listing, renaming and removing take.

It mounts itself over the folder and keeps that open below the mount. The server is a process of its own (a page
fault of the test's own process on its own file system would never end); each line on its standard input is a rule:

    eio NAME OFFSET     reads of NAME that reach beyond OFFSET fail
    stall NAME SECONDS  reads of NAME wait that long, each
    clear               all reads are sound again
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ASYNC_READ, MAX_PAGES = 1 << 0, 1 << 22
MNT_DETACH = 2
BUFFER = (1 << 20) + 4096

_libc = ctypes.CDLL(None, use_errno=True)


class Op:
    """Requests of the kernel."""

    LOOKUP, FORGET, GETATTR, UNLINK, RENAME, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 10, 12, 14, 15, 17, 18
    FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR, ACCESS = 20, 25, 26, 27, 28, 29, 30, 34
    INTERRUPT, DESTROY, BATCH_FORGET, RENAME2 = 36, 38, 42, 45


class BadFolder:
    """Mounted while the `with` lasts; rules are given by its methods."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> "BadFolder":
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if line != "mounted":
            self.process.wait(5)
            self.process = None
            raise OSError(line or "the file system did not start")
        return self

    def __exit__(self, *_):
        assert self.process
        self.clear()
        _libc.umount2(os.fsencode(self.folder), MNT_DETACH)
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _say(self, line: str):
        assert self.process
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        # Once it is echoed it holds.
        assert self.process.stdout.readline().strip() == line

    def eio(self, name: str, offset: int = 0):
        self._say(f"eio {name} {offset}")

    def stall(self, name: str, seconds: float):
        self._say(f"stall {name} {seconds}")

    def clear(self):
        self._say("clear")

    def reads(self, name: str) -> int:
        """Reads of a file that a rule met so far."""
        assert self.process
        self.process.stdin.write(f"reads {name}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


class Server:
    def __init__(self, folder: str):
        self.root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
        if _libc.mount(b"badfs", os.fsencode(folder), b"fuse", 0, options.encode()):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot mount over {folder}: {os.strerror(number)}")
        self.names: dict[int, str] = {1: "."}
        self.ids: dict[str, int] = {".": 1}
        self.eio: dict[str, int] = {}
        self.stalls: dict[str, float] = {}
        self.met: dict[str, int] = {}
        self.readers = ThreadPoolExecutor(32)

    # What the kernel asks.

    def run(self):
        while True:
            try:
                request = os.read(self.device, BUFFER)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                # ENODEV: it is not mounted any more.
                return
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (Op.FORGET, Op.BATCH_FORGET, Op.INTERRUPT, Op.DESTROY):
                continue
            if opcode == Op.READ:
                self.readers.submit(self.answer, unique, opcode, node, request[40:])
            else:
                self.answer(unique, opcode, node, request[40:])

    def answer(self, unique: int, opcode: int, node: int, body: bytes):
        try:
            reply, number = self.handle(opcode, node, body), 0
        except OSError as error:
            reply, number = b"", error.errno or errno.EIO
        except Exception as error:
            print(f"badfs: opcode {opcode}: {error!r}", file=sys.stderr)
            reply, number = b"", errno.EIO
        try:
            os.write(self.device, struct.pack("<IiQ", 16 + len(reply), -number, unique) + reply)
        except OSError:
            # The asker was killed meanwhile.
            pass

    def handle(self, opcode: int, node: int, body: bytes) -> bytes:
        match opcode:
            case Op.INIT:
                major, minor, ahead, flags = struct.unpack_from("<IIII", body)
                return struct.pack(
                    "<IIIIHHIIHHI28x", 7, min(minor, 31), ahead, flags & (ASYNC_READ | MAX_PAGES), 32, 24, 1 << 20, 1,
                    256, 0, 0)
            case Op.LOOKUP:
                name = _name(body)
                info = os.stat(name, dir_fd=self.root, follow_symlinks=False)
                return struct.pack("<QQQQII", self.identity(name), 0, 0, 0, 0, 0) + self.attributes(name, info)
            case Op.GETATTR:
                name = self.names[node]
                info = os.stat(name, dir_fd=self.root, follow_symlinks=False)
                return struct.pack("<QII", 0, 0, 0) + self.attributes(name, info)
            case Op.OPEN:
                return struct.pack("<QII", os.open(self.names[node], os.O_RDONLY, dir_fd=self.root), 0, 0)
            case Op.READ:
                handle, offset, size = struct.unpack_from("<QQI", body)
                self.suffer(self.names[node], offset + size)
                return os.pread(handle, size, offset)
            case Op.RELEASE:
                os.close(struct.unpack_from("<Q", body)[0])
                return b""
            case Op.OPENDIR:
                return struct.pack("<QII", 0, 0, 0)
            case Op.READDIR:
                return self.listing(*struct.unpack_from("<QQI", body)[1:])
            case Op.STATFS:
                info = os.fstatvfs(self.root)
                return struct.pack(
                    "<QQQQQIIII24x", info.f_blocks, info.f_bfree, info.f_bavail, info.f_files, info.f_ffree,
                    info.f_bsize, info.f_namemax, info.f_frsize, 0)
            case Op.UNLINK:
                os.unlink(_name(body), dir_fd=self.root)
                return b""
            case Op.RENAME | Op.RENAME2:
                old, new = body[8 if opcode == Op.RENAME else 16 :].split(b"\0")[:2]
                os.rename(old, new, src_dir_fd=self.root, dst_dir_fd=self.root)
                if (number := self.ids.pop(os.fsdecode(old), None)) is not None:
                    self.names[number] = os.fsdecode(new)
                    self.ids[os.fsdecode(new)] = number
                return b""
            case Op.FSYNC | Op.FLUSH | Op.RELEASEDIR | Op.FSYNCDIR | Op.ACCESS:
                return b""
        raise OSError(errno.ENOSYS, f"opcode {opcode}")

    def suffer(self, name: str, end: int):
        wait = self.stalls.get(name, 0)
        fails = end > self.eio.get(name, end)
        if wait or fails:
            self.met[name] = self.met.get(name, 0) + 1
        if wait:
            time.sleep(wait)
        if fails:
            raise OSError(errno.EIO, "as asked")

    def identity(self, name: str) -> int:
        if name not in self.ids:
            number = max(self.names) + 1
            self.ids[name], self.names[number] = number, name
        return self.ids[name]

    def attributes(self, name: str, info: os.stat_result) -> bytes:
        return struct.pack(
            "<QQQQQQIIIIIIIIII", self.identity(name), info.st_size, info.st_blocks, int(info.st_atime),
            int(info.st_mtime), int(info.st_ctime), 0, 0, 0, info.st_mode, info.st_nlink, info.st_uid, info.st_gid, 0,
            4096, 0)

    def listing(self, offset: int, size: int) -> bytes:
        out = b""
        for position, name in enumerate([".", "..", *sorted(os.listdir(self.root))]):
            if position < offset:
                continue
            raw = os.fsencode(name)
            kind = stat.S_IFDIR >> 12 if position < 2 else stat.S_IFREG >> 12
            entry = struct.pack("<QQII", self.identity(name) if position > 1 else 1, position + 1, len(raw), kind) + raw
            entry += bytes(-len(entry) % 8)
            if len(out) + len(entry) > size:
                break
            out += entry
        return out

    # What the test asks.

    def listen(self):
        for line in sys.stdin:
            words = line.split()
            if words[0] == "reads":
                print(self.met.get(words[1], 0), flush=True)
                continue
            match words:
                case ["eio", name, offset]:
                    self.eio[name] = int(offset)
                case ["stall", name, seconds]:
                    self.stalls[name] = float(seconds)
                case ["clear"]:
                    self.eio.clear()
                    self.stalls.clear()
            print(line.strip(), flush=True)
        os._exit(0)


def _name(body: bytes) -> str:
    return os.fsdecode(body.split(b"\0", 1)[0])


def main():
    try:
        server = Server(sys.argv[1])
    except OSError as error:
        print(error, flush=True)
        sys.exit(1)
    print("mounted", flush=True)
    threading.Thread(target=server.listen, daemon=True).start()
    server.run()
    # Reads that still stall are nobody's any more; the test closes standard input next.
    os._exit(0)


if __name__ == "__main__":
    main()
