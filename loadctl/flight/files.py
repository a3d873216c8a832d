"""Flight files: what one looks like, how it is written, and how much of it can be believed.

Owns the bytes of `*.flight`. A file is a head that names version, layout and site and carries the
tables as started, then chunks of about a minute. A chunk is whole or it is not there: it has its
length and a sum over everything in it. Most begin with a plant block and stand for themselves.
All numbers are little-endian.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from loadctl import tables as plain
from loadctl.errors import LoadctlError, UsageError
from loadctl.flight.code import pack, unpack
from loadctl.flight.ring import PLANT_LAYOUT_HASH
from loadctl.tables import Tables

SUFFIX = ".flight"
MAGIC = b"lcflight"
VERSION = 1
HEAD = struct.Struct("<8sIIqqI")  # magic, version, bytes of JSON, layout, site, sum of JSON
FRAME = struct.Struct("<4sII")  # mark, bytes that follow, their sum
MARK = b"scns"
META = struct.Struct("<IIqqIIqqqqqqqqII")
LEVEL = 6
# More than any tape makes (a ring has 2^21 words), and no more than a machine can hold.
HEAD_MOST_BYTES = 1 << 24
CHUNK_MOST_BYTES = 1 << 26
CHUNK_MOST_WORDS = 1 << 23


class Gap(IntEnum):
    """What stands before a chunk. Numbers never change their meaning."""

    NONE = 0  # the chunk before it, without a scan missing
    BEGAN = 1  # nothing: the recorder found the site running
    RESTARTED = 2  # the scan was started anew; its last, broken pass is not recorded
    OVERRUN = 3  # the ring was written over before it was read
    UNFIT = 4  # more calls than a record holds
    NOT_WRITTEN = 5  # the disk took no more


GAP_WORDS = {
    Gap.NONE: "no gap",
    Gap.BEGAN: "the recording begins",
    Gap.RESTARTED: "the scan was started anew",
    Gap.OVERRUN: "the recorder was away for longer than the ring holds",
    Gap.UNFIT: "a scan had more calls than its record holds",
    Gap.NOT_WRITTEN: "the disk took no more",
}


class Meta(NamedTuple):
    """The head of a chunk. `born` and `position` say where to go on in the ring."""

    has_plant: int
    gap: int
    born_pid: int
    born_at_ns: int
    position: int
    n_records: int
    first_sequence: int
    last_sequence: int
    first_scan: int
    last_scan: int
    first_at_ns: int  # publishing times, monotonic
    last_at_ns: int
    wall_ns: int  # UTC, at the monotonic time `mono_ns`
    mono_ns: int
    n_words: int
    n_plant_bytes: int

    def utc_ns(self, mono_ns: int) -> int:
        return self.wall_ns - (self.mono_ns - mono_ns)


@dataclass(frozen=True, slots=True)
class Chunk:
    meta: Meta
    plant: bytes | None  # the block that the records begin with; empty: a fresh START
    words: memoryview  # of records, as 64-bit numbers


class Head(NamedTuple):
    version: int
    layout_hash: int
    site_hash: int
    more: dict[str, Any]

    @property
    def tables(self) -> Tables:
        """LoadctlError where they are of a version with other rows."""
        try:
            return plain.load(json.dumps(self.more["tables"]))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise UsageError(f"its tables are of another version of loadctl ({error})") from error


def hex_of(value: int) -> str:
    return f"{value & (2**64 - 1):016x}"


# writing


def head_bytes(tables: Tables, more: dict[str, Any]) -> bytes:
    body = {**more, "tables": json.loads(plain.dump(tables))}
    packed = zlib.compress(json.dumps(body, sort_keys=True).encode(), 9)
    head = HEAD.pack(
        MAGIC,
        VERSION,
        len(packed),
        PLANT_LAYOUT_HASH,
        plain.signed_hash(tables),
        zlib.crc32(packed),
    )
    return head + packed


def chunk_bytes(meta: Meta, plant: bytes | None, words: memoryview) -> bytes:
    """`meta` without its lengths, which are filled in here."""
    block = plant or b""
    meta = meta._replace(
        has_plant=plant is not None,
        n_words=len(words),
        n_plant_bytes=len(block),
    )
    body = META.pack(*meta) + zlib.compress(block + pack(words), LEVEL)
    return FRAME.pack(MARK, len(body), zlib.crc32(body)) + body


# reading


class Damaged(LoadctlError):
    """The sum of a chunk is not that of its bytes."""


def unpacked(packed: bytes | memoryview, most_bytes: int) -> bytes:
    """ValueError where it holds more than that, less than it says, or something behind its end."""
    unfold = zlib.decompressobj()
    try:
        plain_bytes = unfold.decompress(packed, most_bytes)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not unfold.eof or unfold.unused_data:
        raise ValueError("its length is not what it should be")
    return plain_bytes


def read_head(file: BinaryIO, name: str) -> Head:
    raw = file.read(HEAD.size)
    if len(raw) < HEAD.size or not raw.startswith(MAGIC):
        raise UsageError(f"{name}: no flight file of loadctl")
    _, version, n_bytes, layout_hash, site_hash, checksum = HEAD.unpack(raw)
    if version != VERSION:
        raise UsageError(f"{name}: version {version} of the format, this loadctl reads {VERSION}")
    if layout_hash != PLANT_LAYOUT_HASH:
        raise UsageError(
            f"{name}: recorded with layout {hex_of(layout_hash)}, this loadctl has"
            f" {hex_of(PLANT_LAYOUT_HASH)}; replay it with the version that recorded it"
        )
    packed = file.read(min(n_bytes, HEAD_MOST_BYTES))
    if len(packed) < n_bytes <= HEAD_MOST_BYTES:
        raise UsageError(f"{name}: it ends within its head")
    if zlib.crc32(packed) != checksum:
        raise Damaged(f"{name}: its head is damaged")
    try:
        more = json.loads(unpacked(packed, HEAD_MOST_BYTES))
    except ValueError as error:
        raise Damaged(f"{name}: its head is damaged: {error}") from None
    return Head(version, layout_hash, site_hash, more)


class Frame(NamedTuple):
    """One chunk as it lies in the file. `body` is None where it is torn or its sum is wrong."""

    at: int
    end: int
    body: bytes | None


def frames(file: BinaryIO) -> Iterator[Frame]:
    """All chunks in order. The last one may be torn; what follows a wrong mark cannot be found."""
    while True:
        at = file.tell()
        raw = file.read(FRAME.size)
        if not raw:
            return
        mark, n_bytes, checksum = FRAME.unpack(raw) if len(raw) == FRAME.size else (b"", 0, 0)
        has_mark = mark == MARK and n_bytes <= CHUNK_MOST_BYTES
        body = file.read(n_bytes) if has_mark else b""
        is_torn = not has_mark or len(body) < n_bytes
        is_good = not is_torn and len(body) >= META.size and zlib.crc32(body) == checksum
        yield Frame(at, file.tell(), body if is_good else None)
        if is_torn:
            return


def meta_of(body: bytes) -> Meta:
    return Meta(*META.unpack_from(body))


def chunk_of(body: bytes) -> Chunk:
    """LoadctlError where whole bytes hold no records: somebody else wrote them."""
    meta = meta_of(body)
    try:
        raw = unpacked(memoryview(body)[META.size :], CHUNK_MOST_BYTES)
    except ValueError as error:
        raise Damaged(f"chunk of scan {meta.first_scan}: {error}") from None
    packed = memoryview(raw)[meta.n_plant_bytes :]
    plant = raw[: meta.n_plant_bytes] if meta.has_plant else None
    if meta.n_words > min(8 * len(raw) + 64, CHUNK_MOST_WORDS):
        raise Damaged(f"chunk of scan {meta.first_scan}: {meta.n_words} words cannot be in it")
    words = unpack(packed, meta.n_words)
    return Chunk(meta, plant, memoryview(words).cast("q"))


def flight_files(folder: Path) -> list[Path]:
    """By name, which begins with the time by the wall clock, right or wrong."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file())
