"""The errors of loadctl and the exit code that each one ends a command with.

    LoadctlError
      UsageError      2   the command line asks for something that does not exist
      ConfigError     3   the site file or a device map breaks a rule
      CheckRefused    1   everything could be read, and the answer is no
      BusError        4   a port cannot be opened or held; a charger did not acknowledge
      NotRunning      5   no site runs under this runtime directory
      DeadlineMissed  1   the scan lost its period more often than it may
      CoreFault       1   the control law was handed something it must never see

A message is one line: what, where, value, bound, with units.
"""

from __future__ import annotations

EXIT_GOOD = 0
EXIT_NO = 1
EXIT_USAGE = 2
EXIT_SITE = 3
EXIT_BUS = 4
EXIT_NOT_RUNNING = 5


class LoadctlError(Exception):
    """Root of everything that loadctl raises on purpose."""

    exit_code = EXIT_NO


class UsageError(LoadctlError):
    exit_code = EXIT_USAGE


class ConfigError(LoadctlError):
    """One or several broken rules; `lines` holds one message each, in file order."""

    exit_code = EXIT_SITE

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class CheckRefused(LoadctlError):
    """The proof or the bus plan does not hold; `lines` holds one message each."""

    exit_code = EXIT_NO

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class BusError(LoadctlError):
    exit_code = EXIT_BUS


class NotRunning(LoadctlError):
    exit_code = EXIT_NOT_RUNNING


class DeadlineMissed(LoadctlError):
    pass


class CoreFault(LoadctlError):
    pass
