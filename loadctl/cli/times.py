"""Points in time as people write them on a command line: 2h (ago), 02:13, 2026-11-25 02:13."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400}
SPAN = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(SECONDS)})")
CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


class TimeType(click.ParamType[datetime]):
    """A time in the past. Without a zone it is local; a clock time alone is its latest."""

    name = "time"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        found = parse_time(str(value).strip(), datetime.now().astimezone())
        if found is None:
            self.fail(
                f"{value!r} is no time; write for example 2h, 02:13 or '2026-11-25 02:13'",
                param,
                ctx,
            )
        return found


def parse_time(text: str, now: datetime) -> datetime | None:
    """None where it is no time. What names no zone is local, with the summer time of its day."""
    ago = SPAN.fullmatch(text)
    try:
        if ago is not None:
            return now - timedelta(seconds=float(ago[1]) * SECONDS[ago[2]])
        clock = CLOCK.fullmatch(text)
        if clock is not None:
            hour, minute, second = int(clock[1]), int(clock[2]), int(clock[3] or 0)
            local = now.astimezone().replace(tzinfo=None)
            today = local.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return (today if today <= local else today - timedelta(days=1)).astimezone()
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):  # also what is before or after all years
        return None


def utc_ms(at: datetime) -> int:
    return round(at.timestamp() * 1_000)


def local_text(utc_ms: int) -> str:
    """For a person: local, to the millisecond."""
    at = datetime.fromtimestamp(utc_ms / 1_000, UTC).astimezone()
    return f"{at:%Y-%m-%d %H:%M:%S}.{utc_ms % 1_000:03d}"


def iso_text(utc_ms: int) -> str:
    """For a machine: UTC."""
    at = datetime.fromtimestamp(utc_ms // 1_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{utc_ms % 1_000:03d}Z"


TIME = TimeType()
