"""When the SDK is set up: only where the environment names an endpoint, and never at an import."""

import os
import subprocess
import sys

import pytest

import spillway
from spillway.telemetry.otel import configure_otel

END = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": END, "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": END, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "None"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": END, "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_set_up(environ):
    assert configure_otel(environ) is None


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_another_protocol_is_refused(name):
    with pytest.raises(spillway.ConfigError, match=f"{name}=grpc"):
        configure_otel({"OTEL_EXPORTER_OTLP_ENDPOINT": END, name: "grpc"})


def run(code, **environ):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env={**clean, **environ}
    ).stdout.split()


def test_importing_and_observing_sets_nothing_up():
    code = """
from opentelemetry import metrics, trace
from spillway.telemetry.otel import OtelObserver
OtelObserver()
print(type(trace.get_tracer_provider()).__name__, type(metrics.get_meter_provider()).__name__)
"""
    assert run(code) == ["ProxyTracerProvider", "_ProxyMeterProvider"]


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
def test_one_signal_alone(signal):
    code = f"""
from opentelemetry import metrics, trace
from spillway.telemetry.otel import configure_otel
end = configure_otel({{"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT": "{END}/v1/x"}})
print(type(trace.get_tracer_provider()).__name__, type(metrics.get_meter_provider()).__name__)
import os; os._exit(0) if print(callable(end), flush=True) is None else None
"""
    tracers, meters, callable_end = run(code)
    assert (tracers == "TracerProvider") == (signal == "TRACES")
    assert (meters == "MeterProvider") == (signal == "METRICS")
    assert callable_end == "True"


def test_the_service_is_named_by_the_environment():
    code = f"""
import os
from opentelemetry import trace
from spillway.telemetry.otel import configure_otel
configure_otel({{**os.environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{END}"}})
print(trace.get_tracer_provider().resource.attributes["service.name"], flush=True)
os._exit(0)
"""
    assert run(code) == ["spillway"]
    assert run(code, OTEL_SERVICE_NAME="mine") == ["mine"]
    assert run(code, OTEL_RESOURCE_ATTRIBUTES="service.name=theirs") == ["theirs"]


def test_without_the_extra_it_says_which():
    code = f"""
import sys
sys.modules["opentelemetry.sdk.trace"] = None
from spillway.core.errors import ConfigError
from spillway.telemetry.otel.setup import configure_otel
assert configure_otel({{}}) is None
try:
    configure_otel({{"OTEL_EXPORTER_OTLP_ENDPOINT": "{END}"}})
except ConfigError as error:
    print("spillway[otel]" in str(error))
"""
    assert run(code) == ["True"]
