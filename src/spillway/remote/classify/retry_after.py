"""The Retry-After header (RFC 9110, sections 10.2.3 and 5.6.7) and its sibling in milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from spillway.remote.classify.durations import parse_number

_BLANKS = " \t"
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = "(?:Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = tuple(
    re.compile(form)
    for form in (
        f"{_DAY}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",  # IMF-fixdate
        f"{_LONG_DAY}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",  # RFC 850
        f"{_DAY} {_MONTH} (?P<day>[ 0-9][0-9]) {_TIME} (?P<year>[0-9]{{4}})",  # asctime
    )
)
_LEAP_SECOND = 60
_CENTURY = 100
_HALF_CENTURY = 50


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds that a Retry-After header asks for, None for what is not a valid one.

    Taken are seconds, with or without a fraction, several of them joined by commas (the longest counts), and the three
    forms of an HTTP date. Never negative, NaN or infinite; a date that has passed is 0.0.

    Args:
        value: the header; blanks around it are ignored.
        now: the instant a date counts from, aware; the server's own Date where there is one. None: the wall clock.
    """
    if value is None:
        return None
    value = value.strip(_BLANKS)
    number = parse_number(value)
    if number is not None:
        return number
    if value[:1].isdigit() and "," in value:
        numbers = [parse_number(part.strip(_BLANKS)) for part in value.split(",")]
        known = [number for number in numbers if number is not None]
        return max(known) if len(known) == len(numbers) else None
    if now is None:
        now = datetime.now(UTC)  # noqa: TID251 - the published default; whoever owns a clock hands in its reading
    date = parse_http_date(value, now)
    return None if date is None else max(0.0, (date - now).total_seconds())


def parse_retry_after_ms(value: str | None) -> float | None:
    """Return a `retry-after-ms` header in seconds, None for what is not a valid one."""
    number = None if value is None else parse_number(value.strip(_BLANKS))
    return None if number is None else number / 1000


def parse_http_date(value: str, now: datetime) -> datetime | None:
    """Return an HTTP date in any of its three forms, aware and in UTC; None for what is none.

    Args:
        value: without blanks around it.
        now: an aware instant: a two-digit year is the latest one of its century digits not more than 50 years after it.
    """
    for form in _FORMS:
        match = form.fullmatch(value)
        if match is not None:
            break
    else:
        return None
    year, second = int(match["year"]), int(match["second"])
    month, day = _MONTHS.index(match["month"]) + 1, int(match["day"])
    if len(match["year"]) == 2:
        latest = now.astimezone(UTC)
        year += latest.year // _CENTURY * _CENTURY + _CENTURY
        rest = (month, day, int(match["hour"]), int(match["minute"]), second)
        while (year, *rest) > (latest.year + _HALF_CENTURY, *latest.timetuple()[1:6]):
            year -= _CENTURY
    if second == _LEAP_SECOND:
        second -= 1
    try:
        return datetime(year, month, day, int(match["hour"]), int(match["minute"]), second, tzinfo=UTC)
    except ValueError:
        return None
