"""OpenTelemetry's SDK as the environment's `OTEL_*` variables have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spillway.core.errors import ConfigError

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_{}_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_{}_PROTOCOL")


def configure_otel(environ: Mapping[str, str]) -> Callable[[], None] | None:
    """Set the global providers up to export over OTLP where an endpoint for it is set.

    That is `OTEL_EXPORTER_OTLP_ENDPOINT`, or its like for one signal. The SDK reads all other variables itself.
    `OTEL_SDK_DISABLED=true` sets nothing up, `OTEL_TRACES_EXPORTER=none` and `OTEL_METRICS_EXPORTER=none` nothing of
    that signal. `service.name` is `spillway` unless the variables say otherwise.

    Returns:
        What exports the rest and ends the exporters; None when nothing was set up.

    Raises:
        ConfigError: the extra is not installed although an endpoint is set, or another protocol than HTTP is asked for.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    wanted = [signal for signal in ("TRACES", "METRICS") if _wanted(environ, signal)]
    if not wanted:
        return None
    try:
        from opentelemetry import metrics, trace  # noqa: PLC0415 - an extra
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"an OTLP endpoint is set and {error.name} is missing; the extra otel brings it: "
            "pip install 'spillway[otel]'"
        ) from None
    named = "OTEL_SERVICE_NAME" in environ or "service.name" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": "spillway"})
    ends: list[Callable[[], object]] = []
    if "TRACES" in wanted:
        tracers = TracerProvider(resource=resource)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(tracers)
        ends.append(tracers.shutdown)
    if "METRICS" in wanted:
        meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=resource)
        metrics.set_meter_provider(meters)
        ends.append(meters.shutdown)

    def end() -> None:
        for each in ends:
            each()

    return end


def _wanted(environ: Mapping[str, str], signal: str) -> bool:
    if environ.get(f"OTEL_{signal}_EXPORTER", "otlp").strip().lower() == "none":
        return False
    if not any(environ.get(name.format(signal)) for name in _ENDPOINTS):
        return False
    for name in _PROTOCOLS:
        protocol = environ.get(name.format(signal), "http/protobuf")
        if protocol != "http/protobuf":
            raise ConfigError(f"{name.format(signal)}={protocol}: spans and metrics leave as http/protobuf only")
    return True
