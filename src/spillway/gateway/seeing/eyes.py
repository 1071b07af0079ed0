"""What looks on at a gateway that runs as a process: log lines, and traces where the environment wants them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import msgspec

from spillway.core.errors import ConfigError
from spillway.gateway.seeing.lines import RequestLog
from spillway.telemetry.logging import logging_to
from spillway.telemetry.otel.setup import configure_otel

if TYPE_CHECKING:
    from spillway.gateway.served import Listener
    from spillway.remote.engine import Observer

LEVEL = "SPILLWAY_LOG_LEVEL"
FORM = "SPILLWAY_LOG_FORMAT"


class Eyes(msgspec.Struct, frozen=True):
    """Who is told: `observers` by the Cluster, `listeners` by the gateway."""

    observers: list[Observer] = []
    listeners: list[Listener] = []


@contextmanager
def looking_on(environ: Mapping[str, str], stream: TextIO, *, traces: bool = True) -> Iterator[Eyes]:
    """Log to `stream`, and export spans and metrics where `OTEL_*` variables say to, until the end.

    Args:
        environ: `SPILLWAY_LOG_LEVEL` (default INFO), `SPILLWAY_LOG_FORMAT` (`json`, `text`; default: text on a
            terminal, else JSON), and the variables that `configure_otel` reads.
        traces: whether there is anything to export.

    Raises:
        ConfigError: a variable is wrong.
    """
    level, form = environ.get(LEVEL) or "INFO", environ.get(FORM) or "auto"
    export = configure_otel(environ) if traces else None
    try:
        with _logging(stream, level, form):
            if export is None:
                yield Eyes(listeners=[RequestLog()])
            else:
                yield _traced()
    finally:
        if export is not None:
            export()


@contextmanager
def _logging(stream: TextIO, level: str, form: str) -> Iterator[None]:
    writing = logging_to(stream, level=level, form=form)
    try:
        writing.__enter__()
    except ValueError as error:
        raise ConfigError(f"{LEVEL} and {FORM}: {error}") from None
    try:
        yield
    finally:
        writing.__exit__(None, None, None)


def _traced() -> Eyes:
    from spillway.gateway.seeing.tracing import RequestTracer  # noqa: PLC0415 - an extra
    from spillway.telemetry.otel import OtelObserver  # noqa: PLC0415 - likewise

    tracer = RequestTracer(OtelObserver())
    return Eyes(observers=[tracer], listeners=[tracer, RequestLog(tracer.trace_id)])
