"""Tables written to a file, whole or not at all: CSV by hand, Parquet where pyarrow is."""

from __future__ import annotations

import codecs
import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

from loadctl.errors import UsageError
from loadctl.journal.columns import Column, Table, Value

SUFFIXES = (".csv", ".parquet")
ROWS_A_GROUP = 10_000


def require_format(path: Path) -> None:
    """Said before anything is read."""
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--to: {path.name} ends neither in .csv nor in .parquet")
    if path.suffix == ".parquet":
        _pyarrow()


def write(table: Table, path: Path) -> int:
    """How many rows were written."""
    return _write_csv(table, path) if path.suffix == ".csv" else _write_parquet(table, path)


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file beside its place that moves there once it is complete and on the disk."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise UsageError(f"--to: {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_csv(table: Table, path: Path) -> int:
    n_rows = 0
    with _whole(path) as file:
        out = csv.writer(codecs.getwriter("utf-8")(file))
        out.writerow([column.name for column in table.columns])
        for row in table.rows:
            out.writerow([_text(value) for value in row])
            n_rows += 1
    return n_rows


def _text(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1_000:03d}Z"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError(
            "--to: Parquet needs pyarrow, which is not installed here:"
            " pip install 'loadctl[parquet]', or export to .csv"
        ) from None
    return pyarrow


def _write_parquet(table: Table, path: Path) -> int:
    pa = _pyarrow()
    schema = pa.schema([pa.field(column.name, _type(pa, column)) for column in table.columns])
    n_rows = 0
    with _whole(path) as file, pa.parquet.ParquetWriter(file, schema) as out:
        while group := list(islice(table.rows, ROWS_A_GROUP)):
            columns = list(zip(*group, strict=True))
            arrays = [
                pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)
            ]
            out.write_table(pa.Table.from_arrays(arrays, schema=schema))
            n_rows += len(group)
    return n_rows


def _type(pa: Any, column: Column) -> Any:
    types = {
        datetime: pa.timestamp("ms", tz="UTC"),
        int: pa.int64(),
        float: pa.float64(),
        str: pa.string(),
        bool: pa.bool_(),
    }
    return types[column.type]
