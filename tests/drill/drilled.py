"""Made-up results of drills, good and bad."""

from spillway.drill.drill import Drilled
from spillway.drill.found import Curve, Event, Found, Promise
from spillway.drill.plan import KILL, Fault
from spillway.drill.sizes import SMALL


def promise(holds=True, name="requests in the worst sliding window"):
    return Promise(
        name=name, promised="at most 300 (limit 300)", measured="300, at 4.20 s" if holds else "312", holds=holds
    )


def scenario(name="strict", holds=True, **more):
    arrivals = {node: [node * 0.01 + i * 0.07 for i in range(150)] for node in range(1, 5)}
    settings = {
        "says": "Clients want more than an exact limit allows.",
        "faults": (Fault(at_s=1.5, kind=KILL, node=2, for_s=0.5),),
        "promises": (promise(holds), promise(name="requests that got one answer")),
        "remarks": {"median wait": "0.06 s", "longest wait for an answer": "4.12 s"},
        "events": (
            Event(from_s=2.0, to_s=3.0, kind=KILL, what="kill node 2, started again after 0.50 s"),
            Event(from_s=5.0, to_s=5.0, kind="", what="the circuit of node 1 is open"),
        ),
        "curves": (
            Curve(
                title="Requests in the sliding window of 2 s, at the provider",
                unit="requests",
                points=[(i * 0.05, 290.0 if i % 40 > 20 else 10.0) for i in range(220)],
                bound=(345, "bound"),
                lesser=(300, "limit"),
            ),
        ),
        "arrivals": arrivals,
        "span_s": 11.0,
    }
    return Found(name=name, **(settings | more))


def drilled(*scenarios):
    return Drilled(seed=7, size=SMALL, scenarios=scenarios or (scenario(),), elapsed_s=18.4)


def every_shape():
    return drilled(
        scenario(),
        scenario("approximate", holds=False),
        scenario("<b>& odd</b>", says="No <i>markup</i>.", arrivals={}, curves=(), events=(), remarks={}),
        scenario("kills", arrivals={node: [] for node in range(1, 5)}, span_s=0.0, curves=()),
        scenario("breaker", faults=(), curves=(Curve(title="Nothing", unit="requests", points=[]),)),
    )
