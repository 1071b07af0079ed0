"""One node of a shared circuit, as a process: asks the simulator as it is told on stdin, and says what came of it.

circuit_node.py STORE_URL NAME SIMULATOR_URL PROBES
"""

import asyncio
import json
import sys

import spillway
from spillway.stores.redis import RedisStore


async def main(store_url, name, sim_url, probes):
    deployment = spillway.Deployment(
        name="m",
        model="gpt-4o-mini",
        runtime_config=spillway.OpenAiConfig(endpoint=f"{sim_url}/v1", api_key=spillway.Secret("sk-test")),
        retry=spillway.RetryPolicy(max_retries=0),
        pricing=spillway.Pricing(input_per_mtok_usd=1.0, output_per_mtok_usd=1.0),
        circuit_breaker=spillway.CircuitBreakerConfig(
            failure_threshold=2, open_duration_s=1.0, max_open_duration_s=20.0, half_open_max_probes=int(probes)
        ),
    )
    store = RedisStore(store_url, name=name, silent_s=1.5)

    async def ask(cluster, fault):
        headers = {} if fault is None else {"x-sim-fault": fault}
        try:
            await cluster.generate("m", "Say 2 words", extra_headers=headers, timeout_s=30.0)
        except spillway.InferenceError as error:
            return error.code
        return "ok"

    async with spillway.Cluster([deployment], environ={}, store=store) as cluster:
        await cluster.start()
        print(json.dumps("ready"), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            told = await asyncio.gather(*(ask(cluster, order.get("fault")) for _ in range(order.get("ask", 0))))
            snapshot = cluster.deployment("m").circuit_breaker().snapshot()
            said = {
                "told": told,
                "state": snapshot.state.value,
                "shared": snapshot.shared,
                "wait": snapshot.retry_after,
            }
            print(json.dumps(said), flush=True)


asyncio.run(main(*sys.argv[1:]))
