"""Writes values into a site file: everything else of it stays byte for byte as it was.

The new file is complete beside the old one before it takes its place, so that power may fail at any
moment; it keeps owner and mode. Judges nothing: what is written was validated by the caller.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from loadctl.errors import ConfigError, LoadctlError


def edited(text: str, values: Mapping[tuple[str, ...], Any], path: Path) -> str:
    """The text with these values in it; a table that it lacks comes to stand at its end."""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise ConfigError(f"{path}: {error}") from None
    for (*tables, key), value in values.items():
        at: Any = document
        for name in tables:
            if name not in at:
                at[name] = tomlkit.table()
            at = at[name]
        at[key] = value
    return tomlkit.dumps(document)


def write_over(path: Path, text: str) -> None:
    """Replace a file by a new one with this text, or leave it as it is."""
    target = path.resolve()  # a symbolic link stays one
    try:
        before = target.stat()
        fd, new = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(text.encode())
                file.flush()
                os.fchmod(fd, before.st_mode & 0o7777)
                if os.geteuid() == 0:
                    os.fchown(fd, before.st_uid, before.st_gid)
                os.fsync(fd)
            os.replace(new, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        _sync_directory(target.parent)
    except OSError as error:
        raise LoadctlError(f"{path}: not saved: {error.strerror}") from None


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
