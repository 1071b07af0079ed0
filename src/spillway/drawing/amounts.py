"""Numbers as people read them."""

from __future__ import annotations

import math

NONE = "\N{EN DASH}"
"""What stands for a number that does not exist."""

_DAY_S = 86400.0


def count(value: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,.0f}"


def compact(value: float) -> str:
    """Return a number in three digits: `842`, `12.3k`, `4.56M`."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # 999.95 k would be shown as 1000k.
        if value >= size * 0.9995 and value >= 1000:
            return f"{_digits(value / size)}{letter}"
    return _digits(value)


def _digits(value: float) -> str:
    """Return three significant digits, zeros behind the point left out."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    if places > 6:
        return f"{value:.1e}"
    shown = f"{value:.{places}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def rate(value: float) -> str:
    """Return something per second."""
    return f"{compact(value)}/s"


def seconds(value: float | None) -> str:
    """Return a time in three digits, `NONE` for none: `0.40 ms`, `120 ms`, `1.20 s`, `75.0 s`."""
    if not value:
        return NONE if value is None else "0 s"
    size, unit = (1000.0, "ms") if value < 0.9995 else (1.0, "s")
    shown = value * size
    places = 0 if shown >= 99.95 else 1 if shown >= 9.995 else 2
    return f"{shown:,.{places}f} {unit}"


def tick_seconds(value: float) -> str:
    """Return a time that is round: `1 s`, `0.5 ms`."""
    return f"{_digits(value * 1000)} ms" if value < 0.9995 else f"{_digits(value)} s"


def duration(value: float) -> str:
    """Return a long time: `12.3 s`, `2 min 05 s`, `1 h 05 min`, `3 d 4 h`."""
    if value < 59.95:
        return seconds(value)
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < _DAY_S:
        minutes = round(value / 60)
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(value / 3600)
    return f"{hours // 24} d {hours % 24} h"


def instant(value: float) -> str:
    """Return a time since the start: `12.3 s`, `2:05`, `1:05:00`."""
    if value < 59.95:
        return "0 s" if value == 0 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"
    whole = round(value)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def between(begin: str, end: str) -> str:
    """Return a range of two numbers in words."""
    return f"{begin} \N{EN DASH} {end}"


def usd(value: float | None) -> str:
    """Return an amount of money, `unknown` for none: `$0`, `$0.00042`, `$0.1234`, `$1,234.56`."""
    if value is None:
        return "unknown"
    if value == 0:
        return "$0"
    if value >= 0.995:
        return f"${value:,.2f}"
    if value < 1e-9:
        return "< $0.000000001"
    places = max(4, 1 - math.floor(math.log10(value)))
    shown = f"{value:.{places}f}"
    return f"${shown}"


def usd_cell(value: float | None) -> str:
    """Return an amount of money for a column: four decimals, fewer above 100, more for what they do not show."""
    return usd(value) if value is None or value < 1e-4 or value >= 100 else f"${value:,.4f}"


def usd_label(value: float) -> str:
    """Return an amount of money as short as it can be: `$0.25`, `$1.23k`."""
    return f"${_digits(value)}" if value < 1000 else f"${compact(value)}"


def percent(part: float, whole: float) -> str:
    """Return a share; what is not quite all or nothing is never shown as such."""
    if not whole:
        return NONE
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    if 99.9 < share < 100:
        return "> 99.9 %"
    return f"{_digits(share) if share < 99.95 else '100'} %"


def times(number: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun: `1 attempt`, `3 attempts`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"
