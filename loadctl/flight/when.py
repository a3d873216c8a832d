"""Where a replay begins and ends: a scan by its number, or a time in words.

Pure. A time without a zone is local; a time of day alone is the last one within the recording.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta

from loadctl.errors import UsageError
from loadctl.flight.replay import Range, Recording
from loadctl.units import NS_PER_S


def span_of(recording: Recording, from_text: str | None, to_text: str | None) -> Range:
    from_scan, from_ns = _place(recording, "--from", from_text)
    to_scan, to_ns = _place(recording, "--to", to_text)
    if from_ns is not None and to_ns is not None and to_ns < from_ns:
        raise UsageError(f"--to: {to_text} is before --from {from_text}")
    return Range(from_scan, to_scan, from_ns, to_ns)


def _place(recording: Recording, option: str, text: str | None) -> tuple[int | None, int | None]:
    """(scan, UTC in ns), one of which is None."""
    if text is None:
        return None, None
    if text.isdigit():
        return int(text), None
    try:
        return None, _ns(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        pass
    try:
        of_day = time.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option}: {text!r} is neither a scan number nor a time such as 02:13,"
            " 02:13:05 or 2026-11-26T02:13"
        ) from None
    return None, _ns(_last_within(recording, of_day))


def _last_within(recording: Recording, of_day: time) -> datetime:
    """The last moment of that time of day that the recording reaches."""
    recording.require_scans()
    metas = recording.metas
    end_s = metas[-1].utc_ns(metas[-1].last_at_ns) / NS_PER_S
    end = datetime.fromtimestamp(end_s).astimezone()
    moment = datetime.combine(end.date(), of_day).astimezone()
    return moment if moment <= end else moment - timedelta(days=1)


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * NS_PER_S)
