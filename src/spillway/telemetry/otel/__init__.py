"""OpenTelemetry: spans and metrics by the GenAI conventions; needs the extra `otel`.

No prompt and no answer ever stands in an attribute; there is no option for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spillway.core.lazy import exporter

if TYPE_CHECKING:
    from spillway.telemetry.otel.observer import OtelObserver
    from spillway.telemetry.otel.setup import configure_otel

__all__ = ["OtelObserver", "configure_otel"]

__getattr__ = exporter(
    __name__,
    {
        "spillway.telemetry.otel.observer": ["OtelObserver"],
        "spillway.telemetry.otel.setup": ["configure_otel"],
    },
)
