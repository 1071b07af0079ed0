"""A stage of Ray Data that asks a deployment about each row."""

from __future__ import annotations

import json
import pickle
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from spillway.core.clock import new_id
from spillway.core.errors import BadRequest, ConfigError, InferenceError
from spillway.core.options import Deployment as Options
from spillway.ray.commons import CommonsActor, RayStore, exactly
from spillway.ray.connection import load_ray
from spillway.ray.secrets import SecretReader, Variables
from spillway.runtime.cluster import Cluster
from spillway.runtime.config import environment, load
from spillway.runtime.loops import LoopThread
from spillway.runtime.mapping import Mapper
from spillway.runtime.routing import unknown_name
from spillway.runtime.store import MEMORY, store_at, store_of
from spillway.stores.shared.port import StoreSettings

if TYPE_CHECKING:
    from spillway.core.reply import Tokens
    from spillway.stores.shared import Store

COLUMNS = (
    "text",
    "tool_calls",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "cost_usd",
    "deployment",
    "attempts",
    "error",
    "error_message",
)
"""What is added to a row; there is no null in them, so that every block has the same types."""

_encode = msgspec.json.Encoder().encode


class KeeperActor(CommonsActor):
    """The class of the Ray actor behind a stage: what its processes share, and the secrets they ask with."""

    def __init__(self, settings: StoreSettings) -> None:
        super().__init__(settings)
        self._secrets: dict[str, str] = {}

    async def keep(self, secrets: dict[str, str]) -> None:
        """Keep the secrets, in memory."""
        self._secrets = secrets

    async def secrets(self) -> dict[str, str]:
        """Return the secrets."""
        return self._secrets

    def __repr__(self) -> str:
        return f"<KeeperActor of {len(self._secrets)} secrets>"


class Deployment:
    """A function for `ds.map_batches`: answers each row of a batch, many at once, and never raises for a row.

    Limits, budgets and circuits hold over all processes that Ray runs it in, and for as long as this object and the
    process that made it are there. A row that can't be answered has the error's code in `error`; others have `""`
    there. A row whose process dies is asked again, when Ray runs its batch again.

    Args:
        config: a project file, or deployments.
        name: the deployment or group to ask; needed where there are several.
        column: of the prompts: texts, or OpenAI-shaped messages, nested or as JSON.
        prefix: stands before the names of the columns that are added.
        store: see `Cluster`; None: what the project file says. With `memory`, an actor of Ray's holds what is
            shared, and every limit is strict.
        environ: where secrets are read, here and not where it runs; default: the process's environment.
        sampling: keywords of `Cluster.generate`, the same for all rows.

    Raises:
        ConfigError: Ray is missing or not connected, the file is wrong, a secret is missing, the name is unknown.
    """

    def __init__(
        self,
        config: str | Path | Options | Sequence[Options],
        name: str | None = None,
        *,
        column: str = "prompt",
        prefix: str = "",
        store: str | Store | None = None,
        environ: Mapping[str, str] | None = None,
        **sampling: Any,
    ) -> None:
        deployments, store = _read(config, store)
        self._name = _asked(deployments, name)
        self._column = column
        self._prefix = prefix
        self._sampling = sampling
        self._slots = sum(
            each.serving.max_concurrent * each.replicas for each in deployments if self._name in {each.name, each.group}
        )
        self._id = new_id()
        ray = load_ray()
        if not ray.is_initialized():
            raise ConfigError(
                "spillway.ray.Deployment: this process is not connected to a Ray cluster: call ray.init()"
            )
        given = store_at(store)
        reader = SecretReader(
            exactly(deployments) if given is None else deployments, environment() if environ is None else environ
        )
        self._deployments = pickle.dumps(reader.deployments)
        settings = StoreSettings()
        kind = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
        self._keeper = kind(KeeperActor).remote(settings)
        self._store: Store = RayStore(self._keeper, settings) if given is None else given
        thread = LoopThread()
        try:
            secrets = thread.run(reader.read)
        finally:
            thread.close()
        ray.get(self._keeper.keep.remote(secrets))

    def __call__(self, batch: Any) -> dict[str, Any]:
        """Return a batch with the columns of answers added; it may be one of NumPy arrays, of pandas or of Arrow."""
        columns = _columns(batch)
        if self._column not in columns:
            raise KeyError(f"there is no column {self._column!r}; there are: {', '.join(columns)}")
        prompts = [_prompt(each) for each in columns[self._column]]
        rows = _served(self).answer(self._name, prompts, self._slots, self._sampling)
        import numpy as np  # noqa: PLC0415 - Ray Data brings it

        kinds = {"input_tokens": np.int64, "output_tokens": np.int64, "attempts": np.int64, "cost_usd": np.float64}
        added = {
            f"{self._prefix}{name}": np.array([row[at] for row in rows], dtype=kinds.get(name, object))
            for at, name in enumerate(COLUMNS)
        }
        return {**columns, **added}

    def serve(self) -> tuple[tuple[Options, ...], dict[str, str], Store]:
        """Return what a process needs to serve it: deployments, the values of their variables, the store."""
        secrets = load_ray().get(self._keeper.secrets.remote())
        deployments: tuple[Options, ...] = pickle.loads(self._deployments)  # noqa: S301 - made above
        return deployments, secrets, self._store

    @property
    def id(self) -> str:
        """The same in every process, and of no other stage."""
        return self._id

    def __repr__(self) -> str:
        return f"<spillway.ray.Deployment {self._name} of column {self._column}>"


class _Served:
    """The Cluster of one stage in this process."""

    def __init__(self, stage: Deployment) -> None:
        deployments, secrets, store = stage.serve()
        self._cluster = Cluster(deployments, environ=Variables(secrets, environment()), store=store)
        self._thread = LoopThread(self._cluster.aclose)

    def answer(self, name: str, prompts: list[Any], slots: int, sampling: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return a row of answers for each prompt."""

        async def ask(at: int) -> Tokens:
            return await self._cluster.generate(name, prompts[at], **sampling)

        async def all_of_them() -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = [()] * len(prompts)
            async for at, found in Mapper(ask, concurrency=slots, ahead=len(prompts)).run(range(len(prompts))):
                rows[at] = _error(found) if isinstance(found, InferenceError) else _answer(found)
            return rows

        return self._thread.run(all_of_them)


_serving: dict[str, _Served] = {}
_lock = threading.Lock()


def _served(stage: Deployment) -> _Served:
    with _lock:
        if stage.id not in _serving:
            _serving[stage.id] = _Served(stage)
        return _serving[stage.id]


def _read(
    config: str | Path | Options | Sequence[Options], store: str | Store | None
) -> tuple[Sequence[Options], str | Store]:
    if isinstance(config, Options):
        return (config,), store or MEMORY
    if not isinstance(config, (str, Path)):
        return tuple(config), store or MEMORY
    project = load(config)
    return project.deployments, store_of(project) if store is None else store


def _asked(deployments: Sequence[Options], name: str | None) -> str:
    known = {each.name for each in deployments} | {each.group for each in deployments if each.group}
    if name is None and len(deployments) == 1:
        return deployments[0].name
    if name is None:
        raise ConfigError(f"name one of: {', '.join(sorted(known))}")
    if name not in known:
        raise ConfigError(unknown_name(name, known))
    return name


def _columns(batch: Any) -> dict[str, Any]:
    """Return a batch by columns, whatever it is."""
    if isinstance(batch, Mapping):
        return dict(batch)
    if hasattr(batch, "to_pydict"):
        return dict(batch.to_pydict())
    return {name: batch[name].tolist() for name in batch.columns}


def _prompt(value: Any) -> Any:
    """Return a prompt as `generate` takes it; what is none is refused there."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            found = json.loads(value)
        except ValueError:
            return value
        if found and isinstance(found, list) and all(isinstance(each, dict) and "role" in each for each in found):
            return found
    if isinstance(value, (list, tuple)):
        return [_message(each) for each in value]
    return value


def _message(value: Any) -> Any:
    """Return a message without null fields: in a column of structs each has the fields of all others."""
    if isinstance(value, Mapping):
        return {key: each for key, each in value.items() if each is not None}
    return value


def _answer(tokens: Tokens) -> tuple[Any, ...]:
    usage = tokens.usage
    return (
        tokens.text,
        _encode(tokens.tool_calls).decode() if tokens.tool_calls else "",
        str(tokens.finish_reason or ""),
        0 if usage is None else usage.input_tokens,
        0 if usage is None else usage.output_tokens,
        float("nan") if tokens.cost_usd is None else tokens.cost_usd,
        tokens.deployment,
        tokens.attempts,
        "",
        "",
    )


def _error(error: InferenceError) -> tuple[Any, ...]:
    cost = 0.0 if isinstance(error, BadRequest) or not error.attempts else float("nan")
    return ("", "", "", 0, 0, cost, error.deployment or "", error.attempts, error.code, error.message)
