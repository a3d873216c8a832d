"""The scan as a child of the guard: started by exec, known by its pidfd, killed, reaped.

Owns one process at a time. A pidfd cannot come to mean another process, as a pid can. Waits only in
`wait_ended`, as long as it is told. Main thread.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence

from hw.handover import PortChannel
from loadctl.units import NS_PER_MS

SCAN_MODULE = "loadctl.scan"
# The guard blocks nothing and ignores nothing that the scan should hear.
DEFAULT_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)


class Child:
    """One scan. `exit_code` is None until it was reaped; minus the signal that killed it."""

    def __init__(self, pid: int, generation: int, channel: PortChannel) -> None:
        self.pid = pid
        self.generation = generation
        self.channel = channel
        self.pidfd = os.pidfd_open(pid)
        self.exit_code: int | None = None

    def reap(self) -> int | None:
        """Its exit code once it has ended; never waits."""
        if self.exit_code is None:
            found = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED | os.WNOHANG)
            if found is not None:
                is_exit = found.si_code == os.CLD_EXITED
                self.exit_code = found.si_status if is_exit else -found.si_status
        return self.exit_code

    def send(self, number: int) -> None:
        """Nothing is sent to a process that was reaped."""
        if self.exit_code is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def wait_ended(self, span_ns: int) -> bool:
        """Whether it ended within the span."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        poll.poll(span_ns / NS_PER_MS)
        return self.reap() is not None

    def close(self) -> None:
        """Let go of a process that was reaped."""
        os.close(self.pidfd)
        self.channel.close()


def spawn(
    command: Sequence[str],
    generation: int,
    port_fds: Sequence[tuple[int, int]],
    kept_fds: Sequence[int],
) -> Child:
    """Start a scan that inherits the ports (lock, data; -1: none) and one end of a channel.
    `kept_fds` are locks that it only has to keep open.

    A group of its own: ctrl-c on a terminal reaches the guard alone, which then asks the scan.
    """
    ours, theirs = PortChannel.pair()
    handed = {fd for pair in port_fds for fd in pair if fd >= 0} | {theirs.fileno(), *kept_fds}
    argv = [sys.executable, "-P", "-m", *command, "--generation", str(generation)]
    argv += ["--port-fds", ",".join(f"{lock_fd}:{data_fd}" for lock_fd, data_fd in port_fds)]
    argv += ["--channel-fd", str(theirs.fileno())]
    for fd in handed:
        os.set_inheritable(fd, True)
    try:
        pid = os.posix_spawn(
            sys.executable, argv, os.environ, setpgroup=0, setsigdef=DEFAULT_SIGNALS
        )
    finally:
        for fd in handed:
            os.set_inheritable(fd, False)
        theirs.close()
    return Child(pid, generation, ours)
