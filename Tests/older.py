"""Shards as Locum wrote them before layout version 2: all scales of a tile in front of its numbers. `OLDER` has the digests
of what that Locum made of some models, so a test knows that what is made here is what was really written."""

from __future__ import annotations

import hashlib
import struct

PAGE, FIXED, ENTRY = 4096, 64, struct.Struct("<6I2Q")
#: Roles whose entries are packed matrices: all but blobs, the embedding's rows and vectors.
PLAIN = {1, 2, 3, 16, 17, 32, 37, 38, 39, 40, 42, 49, 50}
#: By format: bits of a number, whether there are minima, columns that share an f16 scale.
FORMATS = {3: (8, False, 32), 4: (4, False, 32), 5: (4, True, 32), 6: (5, False, 32), 7: (5, True, 32),
           8: (4, True, 256), 9: (5, True, 256), 10: (6, False, 256)}

#: Router and experts of GGUF files of Tests/Conformance/nano/gguf, all experts in one function.
OLDER = {
    "qwen2moe.Q4_0": ("7b86a9644e1e0339b7d75a1e3931b8621b3cada3b5af4d135ea07120ab59f73a",
                      "46134a6f68975ff12319cb385d6ee3dbe84600a409242c2b870ac5f84d531b53"),
    "qwen2moe.Q8_0": ("a129559921f7cc49f9be3ea9b2b21e694a21f33c613fb0b91d1ccfdecfc9b962",
                      "4a172ca6d9847e4638ea8b6dde4df8b7b88e06773263de4b7ab9e122141ca7b8"),
    "kquant-qwen2moe.Q4_K_M": ("ae90342deeb4329c35067527b651ddd1d3d112e74da548b66ff2b6822ea0341c",
                               "96c5bbf8455fc2336aa0961333001fa1b553887492502259324a3e59706f68f7"),
    "kquant-qwen2moe.Q5_K_M": ("b173756f985271bdb138880c21eccb6cd76239b1c5b7abd155b8e0a772d085b1",
                               "ea98f950aaaa861315ecdb92ad16564522d9813f41ab30b4144abc0f6c929002"),
    "kquant-qwen2moe.Q6_K": ("92e39a22577207247b1016816c8e13665c91881e9c6af04ec4c824477404ae47",
                             "889b38adbb9fc3302c86a5faef9df9c87bc1fdfb0e449f20e05f2116bc737574"),
}


def digest(shard: bytes) -> str:
    return hashlib.sha256(shard).hexdigest()


def _pages(count: int) -> int:
    return (count + PAGE - 1) // PAGE * PAGE


def _older_matrix(format: int, cols: int, matrix: bytes) -> bytes:
    if format not in FORMATS:
        return matrix
    bits, minima, shared = FORMATS[format]
    head, block, scales = 64 if minima else 32, 64 * bits, 256 if shared == 256 else 0
    # What a run has: 256 columns of a K format, 32 with minima, else 64.
    blocks = 8 if shared == 256 else 1 if minima else 2
    older, at = b"", 0
    while at < len(matrix):
        heads, rest, left = b"", b"", cols // 32
        while left:
            some = min(left, blocks)
            heads += matrix[at:at + (head * some if shared == 32 else head)]
            size = 64 + scales + some * block
            rest += matrix[at + 64:at + size]
            at, left = at + size, left - some
        older += heads + bytes(-len(heads) % 64) + rest
    return older


def older(shard: bytes) -> bytes:
    """A shard of layout version 2 in version 1."""
    magic, version, kind, entries = struct.unpack_from("<8sIII", shard)
    assert (magic, version) == (b"LOCUMSH1", 2)
    table, body, offset = b"", b"", _pages(FIXED + entries * ENTRY.size)
    start = offset
    for index in range(entries):
        role, layer, expert, format, rows, cols, begin, length = ENTRY.unpack_from(shard, FIXED + index * ENTRY.size)
        content = shard[begin:begin + length]
        if role not in PLAIN:
            content = _older_matrix(format, cols, content)
        table += ENTRY.pack(role, layer, expert, format, rows, cols, offset, len(content))
        body += content + bytes(-len(content) % PAGE)
        offset += _pages(len(content))
    head = struct.pack("<8sI", magic, 1) + shard[12:32] + struct.pack("<Q", offset)
    head = head.ljust(FIXED, b"\0") + table
    return head.ljust(start, b"\0") + body
