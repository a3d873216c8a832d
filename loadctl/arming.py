"""Arming: what a charger must hold before it is granted anything, walked one exchange at a time.

Owns where one charger stands on that walk. No I/O: `exchange` says what to send next, `done` takes
what became of it. Runs in the I/O thread of the charger's bus, in time that a scan leaves over.

    stage       exchange                            good                        anything else
    CHECK       read a register of the list         as wanted: next register    FAILED if refused,
                                                    else WRITE                  else again
    WRITE       write what is wanted                VERIFY                      FAILED if refused,
                                                                                else CHECK again
    VERIFY      read it back                        as wanted: next register    FAILED if refused,
                                                    else FAILED                 else again
    SETPOINT    read the setpoint register          ARMED                       FAILED if refused,
                                                                                else again
    FAILED      read the setpoint register, once    none until `RETRY_ns` later, then CHECK of the
                                                    first register
    ARMED       none; after the link was lost       -> CHECK of the first register

One that cannot be armed is brought down all the same, so its setpoint must be known. Where that
read gets no good answer, or the register cannot be read, it stays unknown.

A register is written only when it differs (some wear) and is never written again without a check.
An armed charger is audited: each register of the list is read again once in `AUDIT_ns`, because a
box can lose power and be back so fast that it misses no message.
"""

from __future__ import annotations

from enum import IntEnum

from hw.devices import ArmingStep
from hw.wire import Code, Exchange

AUDIT_ns = 60_000_000_000
RETRY_ns = 60_000_000_000  # a register that does not take its value may be worn by every try


class Stage(IntEnum):
    CHECK = 0
    WRITE = 1
    VERIFY = 2
    SETPOINT = 3
    ARMED = 4
    FAILED = 5


class Arming:
    """The walk of one charger. `read_setpoint` is None where the register cannot be read."""

    def __init__(self, steps: list[ArmingStep], read_setpoint: Exchange | None) -> None:
        self.steps = steps
        self.read_setpoint = read_setpoint
        self.setpoint_payload: bytes | None = None  # of the read of the setpoint, where it was good
        self.n_failed = 0
        # Which register of the list, or beyond it the setpoint; the exception code; what became of
        # the last exchange: REFUSED, or GOOD where another value was read.
        self.failure: tuple[int, int, int] = (0, 0, Code.NEVER)
        self.asks_setpoint = False  # it failed, and what setpoint it holds was not asked yet
        self.retry_at_ns = 0
        self.audit_i = 0
        self.audited_at_ns = 0
        self.restart()

    def restart(self) -> None:
        """Begin again: at start, and after every recovery of the link."""
        self.step_i = 0
        self.stage = Stage.CHECK
        self.setpoint_payload = None
        self.asks_setpoint = False
        self._enter_step()

    @property
    def is_armed(self) -> bool:
        return self.stage is Stage.ARMED

    def is_audit_due(self, now_ns: int) -> bool:
        """One register at a time, so that all of them are read within `AUDIT_ns`."""
        if not (self.is_armed and self.steps):
            return False
        return now_ns - self.audited_at_ns >= AUDIT_ns // len(self.steps)

    def audit(self) -> Exchange:
        """Read this one again."""
        return self.steps[self.audit_i % len(self.steps)].read

    def audited(self, code: Code, payload: bytes, now_ns: int) -> bool:
        """False when the register holds something else than arming left there."""
        if code is not Code.GOOD:
            return True
        is_right = payload == self.steps[self.audit_i % len(self.steps)].expected
        self.audit_i += 1
        self.audited_at_ns = now_ns
        return is_right

    def exchange(self, now_ns: int) -> Exchange | None:
        """What to send next; None when there is nothing to do now."""
        if self.stage is Stage.FAILED and now_ns >= self.retry_at_ns:
            self.restart()
        if self.stage in (Stage.CHECK, Stage.VERIFY):
            return self.steps[self.step_i].read
        if self.stage is Stage.WRITE:
            return self.steps[self.step_i].write
        if self.stage is Stage.SETPOINT or self.asks_setpoint:
            return self.read_setpoint
        return None

    def lost(self) -> None:
        """It answers no more: begin again; one that failed keeps its pause and is asked nothing."""
        if self.stage is Stage.FAILED:
            self.asks_setpoint = False
        else:
            self.restart()

    def done(self, code: Code, payload: bytes, now_ns: int, exception_code: int = 0) -> None:
        """Move on by what became of the exchange. A frame that never left changes nothing."""
        if code is Code.NOT_SENT:
            return
        if self.stage is Stage.FAILED:
            self.asks_setpoint = False
            self.setpoint_payload = payload if code is Code.GOOD else None
        elif code is Code.REFUSED:
            self._fail(code, exception_code, now_ns)
        elif code is not Code.GOOD:
            self.stage = Stage.CHECK if self.stage is Stage.WRITE else self.stage
        elif self.stage is Stage.WRITE:
            self.stage = Stage.VERIFY
        elif self.stage is Stage.SETPOINT:
            self.setpoint_payload = payload
            self.stage = Stage.ARMED
        else:
            self._compared(payload, now_ns)
        self.audited_at_ns = now_ns  # what the walk has read needs no audit yet

    def _compared(self, payload: bytes, now_ns: int) -> None:
        step = self.steps[self.step_i]
        if payload == step.expected:
            self.step_i += 1
            self.stage = Stage.CHECK
            self._enter_step()
        elif self.stage is Stage.CHECK and step.write is not None:
            self.stage = Stage.WRITE
        else:
            self._fail(Code.GOOD, 0, now_ns)

    def _enter_step(self) -> None:
        if self.step_i < len(self.steps):
            return
        self.stage = Stage.ARMED if self.read_setpoint is None else Stage.SETPOINT

    def _fail(self, code: Code, exception_code: int, now_ns: int) -> None:
        self.asks_setpoint = self.read_setpoint is not None and self.stage is not Stage.SETPOINT
        self.stage = Stage.FAILED
        self.n_failed += 1
        self.failure = (self.step_i, exception_code, code)
        self.retry_at_ns = now_ns + RETRY_ns
