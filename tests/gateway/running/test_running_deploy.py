"""The files in `deploy/` say what the command and the gateway understand."""

import configparser
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from spillway.cli.main import commands
from spillway.gateway.doors import DOORS
from spillway.gateway.stopping import DRAIN_S, TELL_S

DEPLOY = Path(__file__).parents[3] / "deploy"
ENDS_WITHIN = DRAIN_S + TELL_S


def understood(argv):
    """The options of a `spillway` command line, if the command takes them."""
    name, *rest = argv
    command = commands.get_command(None, name)
    return command.make_context(name, list(rest)).params


def open_doors():
    return {path for path, door in DOORS.items() if door.access == "open"}


def unit():
    """The unit's sections; a key that stands there twice has two values."""
    sections = {}
    for line in (DEPLOY / "spillway.service").read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


def dockerfile():
    """Instructions and their arguments, in order."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.split(None, 1)[1].strip()) for line in lines]


def manifests():
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def test_the_unit_starts_reloads_and_ends_it():
    service = unit()["Service"]
    program, *argv = shlex.split(service["ExecStart"][0])
    assert program.endswith("/spillway")
    assert understood(argv)["config"] == "/etc/spillway/spillway.toml"
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert service["KillSignal"] == ["SIGTERM"]
    assert int(service["TimeoutStopSec"][0]) > ENDS_WITHIN
    assert service["RestartPreventExitStatus"] == ["2"]


def test_the_unit_may_do_little():
    service = unit()["Service"]
    for key in (
        "NoNewPrivileges",
        "DynamicUser",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectHome",
        "ProtectKernelTunables",
    ):
        assert service[key] == ["yes"], key
    assert service["ProtectSystem"] == ["strict"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["StateDirectory"] == ["spillway"]
    assert "User" not in service


def test_the_image_runs_it_as_nobody_in_particular():
    said = dockerfile()
    named = dict(said)
    assert [value.split(" AS ")[0] for key, value in said if key == "FROM"] == ["python:3.13-slim"] * 2
    assert named["USER"] == "10001:10001"
    assert named["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(named["ENTRYPOINT"]) == ["spillway"]
    options = understood(json.loads(named["CMD"]))
    assert options["bind"] == f"0.0.0.0:{named['EXPOSE']}"
    keys = [key for key, _ in said]
    assert keys.index("USER") > len(keys) - 1 - keys[::-1].index("COPY")
    install = next(value for key, value in said if key == "RUN" and "pip install" in value)
    assert set(re.search(r"\[(.*?)\]", install)[1].split(",")) <= extras()


def extras():
    import tomllib

    with (DEPLOY.parent / "pyproject.toml").open("rb") as file:
        return set(tomllib.load(file)["project"]["optional-dependencies"])


def test_the_image_is_healthy_when_the_gateway_is():
    check = dict(dockerfile())["HEALTHCHECK"]
    program = json.loads(check[check.index("CMD") + 3 :])[-1]
    url = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", program)
    assert url[1] == dict(dockerfile())["EXPOSE"]
    assert url[2] in open_doors()
    compile(program, "healthcheck", "exec")


async def test_the_health_check_of_the_image_finds_a_gateway_and_misses_none(serve, sim):
    import asyncio
    import subprocess
    import sys

    from running_rig import project

    serving = await serve(project(sim.url)).up()
    check = dict(dockerfile())["HEALTHCHECK"]
    program = json.loads(check[check.index("CMD") + 3 :])[-1].replace("8080", str(serving.port))

    def look():
        return subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=20, check=False).returncode

    assert await asyncio.to_thread(look) == 0
    serving.close()
    assert await asyncio.to_thread(look) != 0


def test_the_manifest_probes_what_there_is():
    deployment, service = manifests()
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = understood(container["args"])
    port = container["ports"][0]
    assert options["bind"].endswith(f":{port['containerPort']}")
    paths = {kind: container[kind]["httpGet"]["path"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert set(paths.values()) <= open_doors()
    assert paths["readinessProbe"] == "/readyz"
    slept = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > ENDS_WITHIN + slept
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


def test_the_manifest_runs_one_without_privileges():
    deployment, _ = manifests()
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"]["type"] == "Recreate"
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    context = pod["containers"][0]["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", ["spillway.service", "Dockerfile", "kubernetes.yaml"])
def test_what_they_promise_of_the_state_file_is_where_they_let_it_be(name):
    assert "/var/lib/spillway" in (DEPLOY / name).read_text()


def test_the_unit_is_a_file_that_others_read_too():
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(DEPLOY / "spillway.service")
    assert parser.sections() == ["Unit", "Service", "Install"]
