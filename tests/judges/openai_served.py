"""What the gateway has that the `openai` package is judged through: every runtime, and every fault."""

from __future__ import annotations

import asyncio

from judging import judged
from served import KEY, gateway

from spillway.sim import Phase, Scenario, SimConfig, Simulator

FAULTS = (
    "429",
    "429-retry-after=1",
    "insufficient-quota",
    "500",
    "503",
    "401",
    "403",
    "content-filter",
    "context-length",
    "html-error-page",
    "reset-mid-stream",
    "truncated-stream",
    "error-event-mid-stream",
)


def name_of(fault):
    """The deployment that meets a fault, at Azure, where the path says which deployment it is."""
    return f"fault-{fault.partition('=')[0]}"


def scenario():
    return Scenario(tuple(Phase(fault=fault, path=f"*/{name_of(fault)}/*") for fault in FAULTS))


def deployment(name, config, *, model="", more=""):
    rows = [f'[[deployment]]\nname = "{name}"', f'model = "{model or name}"', more.split("\n[")[0]]
    tables = "".join(f"\n[{table}" for table in more.split("\n[")[1:])
    return "\n".join([*rows, "[deployment.runtime_config]", config, 'api_key = { inline = "sk-test-up" }', tables])


def tables(url):
    """A deployment of each runtime, and one for each fault."""
    openai, azure = f'endpoint = "{url}/v1"', f'variant = "azure"\nendpoint = "{url}"\napi_version = "2024-10-21"'
    faulty = 'runtime = "openai"\n[deployment.retry]\nmax_retries = 1\ninitial_backoff_s = 0.01'
    trips = 'runtime = "openai"\n[deployment.retry]\nmax_retries = 0\n[deployment.circuit_breaker]\n'
    trips += "failure_threshold = 1\nopen_duration_s = 1.0"
    paced = "[deployment.rate_limits]\nrequests_per_minute = 60\nburst_s = 1.0\n[deployment.serving]\n"
    paced += "queue_timeout_s = 0.1"
    return [
        deployment("gpt-4o-mini", openai),
        deployment("azure-mini", f'{azure}\ndeployment = "mini"', model="gpt-4o-mini", more='runtime = "openai"'),
        deployment("claude-haiku-4-5", f'endpoint = "{url}"'),
        deployment("gemini-2.5-flash", f'endpoint = "{url}"'),
        deployment("lite", f'endpoint = "{url}/litellm/v1"', model="gpt-4o-mini", more='runtime = "litellm"'),
        deployment("luna", f'{openai}\napi = "responses"', model="gpt-6-luna"),
        deployment("text-embedding-3-small", openai),
        deployment("gemini-embedding-001", f'endpoint = "{url}"'),
        deployment(
            "lite-embedding",
            f'endpoint = "{url}/litellm/v1"',
            model="text-embedding-3-small",
            more='runtime = "litellm"',
        ),
        *(
            deployment(name_of(fault), f'{azure}\ndeployment = "{name_of(fault)}"', model="gpt-4o-mini", more=faulty)
            for fault in FAULTS
        ),
        deployment("tripping", f'{azure}\ndeployment = "fault-500"', model="gpt-4o-mini", more=trips),
        deployment("paced", openai, model="gpt-4o-mini", more=f'runtime = "openai"\n{paced}'),
    ]


def hear_through_gateway(script, cases, folder):
    """Have a judge ask its cases through a gateway; return its verdicts by case name."""

    async def main():
        async with Simulator(SimConfig(seed=1, scenario=scenario())) as simulator:
            async with gateway(folder, tables(simulator.url)) as url:
                return await judged(script, url, KEY, cases)

    return asyncio.run(main())
