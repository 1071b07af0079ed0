"""What nodes and their store tell each other of a circuit that they share; times in milliseconds."""

from __future__ import annotations

import math

import msgspec

FOREVER_MS = 2**52
"""An instant that never comes, or a time without end."""

OPENED = "opened"
PASSED = "passed"
FAILED = "failed"
REVIEW = "review"
FORCE_OPEN = "force_open"
FORCE_CLOSE = "force_close"
RESET = "reset"

ORDERS = frozenset({FORCE_OPEN, FORCE_CLOSE, RESET})
"""An operator's words, which hold whatever the circuit was."""


class Said(msgspec.Struct, array_like=True):
    """One thing that happened at a node.

    Attributes:
        kind: `opened`, by the node's own traffic; `passed` or `failed`, a probe; `review`, other options; or an order.
        probe: its number, 0 for an answer that broke after its success.
        ms: the time from then on: until when it is open, forced open or held closed.
        ago_ms: how long ago it happened.
        number: of an order, in the order in which a node was given them.
        reason: why it opened.
    """

    kind: str
    probe: int = 0
    ms: int = 0
    ago_ms: int = 0
    number: int = 0
    reason: str = ""


class Report(msgspec.Struct, kw_only=True):
    """A node's word on one circuit.

    Attributes:
        gen: the store's number of the state that it knows; what it says of another state comes too late.
        said: what has happened since, in order.
        probes: the leases that it holds, used or not; any other is given back.
        want: whether it asks for one more.
        most: how many probes there may be, and must succeed.
        open_ms: the first open time, doubled with each failed probe up to `longest_ms`.
        apart: it has gone through changes of its own while the store was lost.
        state: the present one as the node has it, with what follows; only looked at where the store has forgotten it,
            or `apart`.
        left_ms: of the open time.
        ago_ms: since it opened.
        failed: probes that have failed since it was closed.
        held_ms: for which it is forced closed.
    """

    key: str
    gen: int
    said: list[Said]
    probes: list[int]
    want: bool
    most: int
    open_ms: int
    longest_ms: int
    apart: bool
    state: str
    left_ms: int
    ago_ms: int
    failed: int
    held_ms: int
    reason: str


class Probe(msgspec.Struct, array_like=True):
    """A probe that a node has leave to make; `until`: when that is given up."""

    number: int
    node: str
    until: int


class Record(msgspec.Struct, kw_only=True):
    """A circuit in the store; instants are the store's.

    Attributes:
        gen: number of the present state, greater than that of any before.
        till: end of the open time.
        opened: when it last opened, 0 for never.
        failed: probes that have failed since it was closed.
        reason: why it is in this state.
        node: whose word made it so.
        held: until when it is forced closed.
        proven: probes that have succeeded in this state.
        probes: that are leased.
        order_at: when the newest order was given.
        order_node: to which node.
        order_number: its number there.
    """

    gen: int = 0
    state: str = "closed"
    till: int = 0
    opened: int = 0
    failed: int = 0
    reason: str = ""
    node: str = ""
    held: int = 0
    proven: int = 0
    probes: list[Probe] = []
    order_at: int = 0
    order_node: str = ""
    order_number: int = 0


def in_ms(seconds: float) -> int:
    """Return a time in whole milliseconds, rounded up; 0 for what is over."""
    if seconds <= 0:
        return 0
    # Rounded first, so that 0.3 s of two clock readings is 300 ms and not 301.
    return FOREVER_MS if seconds >= FOREVER_MS / 1000 else math.ceil(round(seconds * 1000, 3))


def in_seconds(ms: int) -> float:
    """Return a time in seconds."""
    return math.inf if ms >= FOREVER_MS else ms / 1000
