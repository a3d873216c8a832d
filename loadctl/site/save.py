"""Writes values into a site file: everything else of it stays byte for byte as it was.

The new file is complete beside the old one before it takes its place, so that power may fail at any
moment; it keeps group and mode, and the owner where that may be. A file that somebody else has
written meanwhile is left alone. Judges nothing: what is written was validated by the caller.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, Table

from hw.toml_text import MARK
from loadctl.disk import sync_folder
from loadctl.errors import ConfigError, LoadctlError


def edited(text: str, values: Mapping[tuple[str, ...], Any], path: Path) -> str:
    """The text with these values in it; a table that it lacks comes to stand at its end."""
    try:
        document = tomlkit.parse(text.removeprefix(MARK))
    except TOMLKitError as error:
        raise ConfigError(f"{path}: {error}") from None
    for (*tables, key), value in values.items():
        at: Any = document
        for name in tables:
            if name not in at:
                at[name] = tomlkit.table()
            at = at[name]
        _put(at, key, value)
    new = MARK * text.startswith(MARK) + tomlkit.dumps(document)
    has_only_crlf = "\r\n" in text and not re.search("(?<!\r)\n", text)
    return re.sub("(?<!\r)\n", "\r\n", new) if has_only_crlf else new


def _put(table: Any, key: str, value: Any) -> None:
    """Into the place of the old value, with what is written around it and between its numbers.

    A single number stands for each of an array's.
    """
    old = table.get(key)
    if isinstance(old, Array):
        values = value if isinstance(value, list) else [value] * len(old)
        if len(values) == len(old):
            for i, each in enumerate(values):
                if old[i] != each:
                    old[i] = each
            return
    if old is None and isinstance(table, Table):
        _append(table, key, value)
    else:
        table[key] = value


def _append(table: Table, key: str, value: Any) -> None:
    """Behind the last key: a comment that follows may head the next table."""
    body = table.value.body
    n = len(body)
    while n and body[n - 1][0] is None:
        n -= 1
    rest = body[n:]
    del body[n:]
    table.append(key, value)
    body.extend(rest)


def write_over(path: Path, text: str, before: str) -> None:
    """Replace a file in which `before` stands by a new one with this text, or leave it as it is."""
    target = path.resolve()  # a symbolic link stays one
    try:
        status = target.stat()
        fd, new = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(text.encode())
                file.flush()
                if not _give(fd, status.st_uid, status.st_gid):
                    raise LoadctlError(
                        f"{path}: not saved: it belongs to group {status.st_gid}, and this user may"
                        " give it no file: who reads it by its group could not read it any more"
                    )
                os.fchmod(fd, status.st_mode & 0o7777)
                os.fsync(fd)
            if target.read_bytes() != before.encode():
                raise LoadctlError(f"{path}: not saved: it was changed meanwhile; look at it")
            os.replace(new, target)
        except (OSError, LoadctlError):
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        sync_folder(target.parent)
    except OSError as error:
        raise LoadctlError(f"{path}: not saved: {error.strerror}") from None


def _give(fd: int, uid: int, gid: int) -> bool:
    """To this owner where that is allowed; False where not even the group can have it."""
    try:
        os.fchown(fd, uid, gid)
    except PermissionError:
        with contextlib.suppress(PermissionError):
            os.fchown(fd, -1, gid)
    return os.fstat(fd).st_gid == gid
