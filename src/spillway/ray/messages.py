"""What the driver of a run and its workers say to each other. It travels in bundles, in order, each way."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from spillway.core.errors import InferenceError
from spillway.core.priority import Priority
from spillway.core.reply import Embeddings, Tokens
from spillway.core.request import GenerateRequest
from spillway.remote.circuit_breaker import BreakerEvent
from spillway.remote.engine.metrics import AttemptRecord, RequestRecord


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """To a worker: answer a request. Its ticket is in all that is said of it."""

    ticket: int
    name: str
    request: GenerateRequest
    priority: Priority | None
    shift_early: bool
    stream: bool


class Granted(msgspec.Struct, frozen=True):
    """To a worker: so much is set aside for the next attempt of a request, and the record of its send is written."""

    ticket: int
    pico: int


class Refused(msgspec.Struct, frozen=True):
    """To a worker: no money is to be had for a request."""

    ticket: int
    error: InferenceError


class Withdraw(msgspec.Struct, frozen=True):
    """To a worker: nobody waits for a request any more."""

    ticket: int


class NewSecrets:
    """To a worker: what the secrets are from now on.

    Attributes:
        values: by the name of the variable that the deployments read.
    """

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"<NewSecrets {len(self.values)}>"


Order = Ask | Granted | Refused | Withdraw | NewSecrets


class Wants(msgspec.Struct, frozen=True):
    """From a worker: an attempt of a request may cost so much."""

    ticket: int
    deployment: str
    pico: int


class Settled(msgspec.Struct, frozen=True):
    """From a worker: what an attempt came to, in place of what was granted."""

    ticket: int
    pico: int


class Attempted(msgspec.Struct, frozen=True):
    """From a worker: an attempt has ended."""

    ticket: int
    record: AttemptRecord


class Requested(msgspec.Struct, frozen=True):
    """From a worker: a request has ended."""

    ticket: int
    record: RequestRecord


class Answered(msgspec.Struct, frozen=True):
    """From a worker: the answer; the last word on its ticket, as are the next two."""

    ticket: int
    answer: Tokens | Embeddings


class Failed(msgspec.Struct, frozen=True):
    """From a worker: there is no answer; without an error because nobody waits for it."""

    ticket: int
    error: InferenceError | None


class Broke(msgspec.Struct, frozen=True):
    """From a worker: a fault of ours, in words."""

    ticket: int
    message: str


class Tripped(msgspec.Struct, frozen=True):
    """From a worker: a breaker has changed its state; `retry_after_s` as it stands then."""

    deployment: str
    event: BreakerEvent
    retry_after_s: float


class Room(msgspec.Struct, frozen=True):
    """From a worker: at a breaker, calls may pass sooner than it said."""

    deployment: str


class Reread(msgspec.Struct, frozen=True):
    """From a worker: a secret was looked up again, which is done when a provider did not take it."""


News = Wants | Settled | Attempted | Requested | Answered | Failed | Broke | Tripped | Room | Reread


class Plan:
    """To a worker, once: what it answers with. It holds secrets, and is in no `repr`.

    Attributes:
        deployments: pickled; secrets in them are names of variables.
        secrets: the values of these.
        store: a `Store`.
    """

    __slots__ = ("deployments", "secrets", "store")

    def __init__(self, deployments: bytes, secrets: Mapping[str, str], store: object) -> None:
        self.deployments = deployments
        self.secrets = secrets
        self.store = store

    def __repr__(self) -> str:
        return "<Plan>"


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """From a worker, once: it is ready, or why it can't be.

    Attributes:
        priced: whether the price of a deployment is known, by name.
        trouble: what is wrong with the configuration, empty when nothing is.
    """

    pid: int
    priced: dict[str, bool] = {}
    trouble: str = ""
