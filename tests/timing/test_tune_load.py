"""A thousand changes a second from four clients: what is too much is told so, nothing else happens.

Counted while it runs: every answer at the clients, every event in the ring, every published image.
"""

from __future__ import annotations

import multiprocessing
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import pytest

from loadctl import runtime
from loadctl import tables as plain
from loadctl.control import (
    RECORD_BYTES,
    Adopt,
    Change,
    Code,
    Kind,
    pack_adopt,
    pack_change,
    unpack,
    unpack_answer,
)
from loadctl.events import Event
from loadctl.image import Reader
from loadctl.tables import Tables
from loadctl.tuning import KEYS
from tests.support.running_site import Found, charging, running_site, site_text

pytestmark = [pytest.mark.timing, pytest.mark.timeout(300)]

N_CLIENTS = 4
PER_SECOND = 1_000
QUEUE_BYTES = 1 << 20  # of what a client has said and nobody has read; the kernel allows less
NUMBERS = {key.label: number for number, key in KEYS.items()}
# Changed together, so that in every image they must stand together: max is 4 A above min, and the
# weights of all are the same.
PAIRS = ((6_000, 10_000), (8_000, 12_000), (10_000, 14_000))


def flood(path: Path, site_hash: int, client_i: int, span_s: float, found: Queue[Any]) -> None:
    """Send at the full rate, whatever comes back; then wait for what is still to come."""
    own = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)
    own.connect(str(path))
    own.setblocking(False)
    counts: Counter[str] = Counter()
    began_s = time.monotonic()
    serial, n_open = 0, 0
    while True:
        now_s = time.monotonic() - began_s
        if now_s < span_s and serial < now_s * PER_SECOND / N_CLIENTS:
            serial += 1
            n_open += send_change(own, serial, site_hash, client_i, counts)
        elif now_s >= span_s and (n_open == 0 or now_s > span_s + 10):
            break
        else:
            time.sleep(0.001)
        n_open -= take_answers(own, counts)
    counts["unanswered"] = n_open
    own.close()
    found.put(counts)


def send_change(
    own: socket.socket, serial: int, site_hash: int, client_i: int, counts: Counter[str]
) -> int:
    """One change of two or three keys that belong together; how many records it was."""
    if client_i % 2 == 0:
        min_mA, max_mA = PAIRS[serial % len(PAIRS)]
        words = [(NUMBERS["min_A"], 0, min_mA), (NUMBERS["max_A"], 0, max_mA)]
    else:
        weight = 1 + serial % 50
        words = [(NUMBERS["weight"], who, weight) for who in (0, 1)]
    records = [pack_change(Change(*each), serial, site_hash) for each in words]
    records.append(pack_adopt(Adopt(len(words), None), serial, site_hash))
    for n_sent, record in enumerate(records):
        try:
            own.send(record)
        except BlockingIOError:  # the kernel keeps no more of it: as good as busy
            counts["full"] += 1
            return n_sent
    counts["asked"] += 1
    return len(records)


def take_answers(own: socket.socket, counts: Counter[str]) -> int:
    n_answers = 0
    while True:
        try:
            data = own.recv(RECORD_BYTES)
        except BlockingIOError:
            return n_answers
        record = unpack(data)
        assert record is not None, data
        answer = unpack_answer(data, record.serial)
        assert answer is not None
        n_answers += 1
        if record.kind == Kind.ADOPT:
            counts[Code(answer.code).name] += 1


def look(reader: Reader, seen: Found) -> None:
    """Count what is new in the ring, and judge the image by itself."""
    snapshot = reader.snapshot()
    for event in snapshot["events"][max(0, len(snapshot["events"]) - new_events(snapshot, seen)) :]:
        seen["tuned"] += event["kind"] == Event.TUNED
    first, second = snapshot["chargers"][:2]
    pair = (first["live_min_mA"], first["live_max_mA"])
    if pair not in (*PAIRS, (6_000, 16_000)) or first["live_weight"] != second["live_weight"]:
        seen["invalid"].append((pair, first["live_weight"], second["live_weight"]))
    seen["images"] += 1


def new_events(snapshot: Found, seen: Found) -> int:
    n_new = snapshot["n_events"] - seen["n_events"]
    assert n_new <= len(snapshot["events"]), "events were lost between two looks"
    seen["n_events"] = snapshot["n_events"]
    return int(n_new)


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """On a disk that is busy a scan waits for writes to its own image."""
    with tempfile.TemporaryDirectory(prefix="tune-", dir="/dev/shm") as name:
        yield Path(name)


def run_flood(tmp_path: Path, span_s: float) -> tuple[Counter[str], Found, Found]:
    text = site_text(tmp_path / "sim" / "bus-one").replace("failsafe_A = 6", "failsafe_A = 0")
    with running_site(tmp_path, text, charging()) as running:
        running.until(lambda found: found["mode"] == "run")
        site_dir = runtime.find_site([running.runtime_dir], None)
        tables: Tables = plain.load(site_dir.tables.read_text())
        site_hash = plain.signed_hash(tables)
        reader = Reader(site_dir.image)
        before = running.json()
        seen: Found = {"n_events": reader.snapshot()["n_events"], "tuned": 0, "images": 0}
        seen["invalid"] = []
        context = multiprocessing.get_context("fork")
        found: Queue[Any] = context.Queue()
        clients = [
            context.Process(target=flood, args=(site_dir.control, site_hash, i, span_s, found))
            for i in range(N_CLIENTS)
        ]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients) and found.qsize() < N_CLIENTS:
            look(reader, seen)
            time.sleep(0.02)
        counts: Counter[str] = Counter()
        for _ in clients:
            counts += found.get(timeout=5)
        for client in clients:
            client.join()
        time.sleep(1)
        look(reader, seen)
        after = running.json()
        seen["missed"] = after["scan"]["missed"] - before["scan"]["missed"]
        seen["scans"] = after["scan"]["scans"] - before["scan"]["scans"]
        print(dict(counts), seen, after["scan"])
        return counts, seen, after


def judge(counts: Counter[str], seen: Found) -> None:
    assert seen["missed"] == 0
    assert seen["invalid"] == []
    assert counts["unanswered"] == 0
    assert counts["ACCEPTED"] > 0
    assert counts["BUSY"] > 0
    assert 2 * counts["ACCEPTED"] == seen["tuned"]  # two keys each
    answered = counts["ACCEPTED"] + counts["BUSY"] + counts["INCOMPLETE"]
    assert answered == counts["asked"]


def test_flood_of_changes_for_a_moment(in_memory: Path) -> None:
    counts, seen, _ = run_flood(in_memory, 4)
    judge(counts, seen)


@pytest.mark.long
def test_flood_of_changes_for_a_minute(in_memory: Path) -> None:
    counts, seen, _ = run_flood(in_memory, 60)
    judge(counts, seen)
    assert counts["asked"] > 0.9 * 60 * PER_SECOND
