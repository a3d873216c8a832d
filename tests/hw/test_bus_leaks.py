"""Ten thousand failures of each kind with the collector off leave nothing behind."""

import gc
import sys

import pytest

from hw.wire import READ_INPUT, Code, Exchange
from tests.support.rtu_frames import answer, read_reply, refusal
from tests.support.virtual_line import MS, VirtualBus

READ = Exchange(1, READ_INPUT, 0, 3)
N = 10_000


def resident_KiB() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4


@pytest.fixture
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize(
    ("arrivals", "code"),
    [
        ([(5 * MS, refusal(1, READ_INPUT, 2))], Code.REFUSED),
        ([(5 * MS, refusal(1, READ_INPUT, 5))], Code.REFUSED),
        ([], Code.NO_ANSWER),
        ([(5 * MS, b"\x55" * 11)], Code.BAD_FRAME),
        ([(5 * MS, read_reply(1, READ_INPUT, bytes(6))[:-1])], Code.BAD_FRAME),
        ([(5 * MS, read_reply(2, READ_INPUT, bytes(6)))], Code.BAD_FRAME),
    ],
)
def test_failures_in_thousands_leave_no_objects_and_no_memory(arrivals, code: Code) -> None:
    rig = VirtualBus(lambda request: arrivals)

    def fail(n: int) -> set[Code]:
        codes = set()
        for _ in range(n):
            rig.bus.new_scan()
            codes.add(rig.ask(READ).code)
            rig.serial.requests.clear()
            rig.serial.log.clear()
        return codes

    fail(200)  # caches fill
    objects, blocks, memory_KiB = len(gc.get_objects()), sys.getallocatedblocks(), resident_KiB()
    assert fail(N) == {code}
    assert len(gc.get_objects()) - objects < 20
    assert sys.getallocatedblocks() - blocks < 200
    assert resident_KiB() - memory_KiB < 512


def test_error_that_somebody_keeps_holds_no_frames() -> None:
    kept = OSError("unplugged")

    def fail(size: int) -> bytes:
        raise kept

    rig = VirtualBus(lambda request: [])
    rig.serial.read = fail  # type: ignore[method-assign]
    assert rig.ask(READ).code == Code.NO_ANSWER
    assert kept.__traceback__ is None


@pytest.mark.usefixtures("collector_off")
def test_lost_port_tried_for_hours_leaves_no_objects() -> None:
    attempts = []

    def opener():
        attempts.append(rig.clock.at_ns)
        raise OSError(2, "No such file or directory")

    rig = VirtualBus(lambda request: [(5 * MS, answer(request))])
    rig.bus._keeper._opener = opener
    rig.serial.broken = "write"
    rig.ask(READ)
    rig.ask(READ)
    attempts.clear()
    objects = len(gc.get_objects())
    for _ in range(N):
        rig.clock.at_ns += 1_000 * MS
        assert rig.ask(READ).code == Code.NOT_SENT
    assert len(attempts) == N
    assert len(gc.get_objects()) - objects < 20
