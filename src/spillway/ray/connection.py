"""The way into a Ray cluster: one that runs, or one that is started for this process alone."""

from __future__ import annotations

import contextlib
import importlib
import logging
import socket
from collections.abc import Iterator
from typing import Any

from spillway.core.errors import ConfigError
from spillway.runtime.config import environment, set_default_variables

OBJECT_STORE_BYTES = 80 * 2**20
"""Of a Ray that is started here: lines and results travel beside the object store, so that it may be small."""

_REACH_S = 5.0
_RAYS_OWN = ("auto", "local")
"""Words that Ray takes for an address, as in `$RAY_ADDRESS`."""

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def load_ray() -> Any:
    """Return the module `ray`.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError("ray is missing; the extra ray brings it: pip install 'spillway[ray]'") from None


@contextlib.contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """Be connected to a Ray cluster, and give its module.

    A process that is connected already stays so, and `address` is nothing to it. No usage statistics are sent.

    Args:
        address: `host:port` of a cluster; None: that of `$RAY_ADDRESS`, else one that runs on this machine, else one
            is started, for this process alone.

    Raises:
        ConfigError: Ray is not installed, or the cluster can't be reached.
    """
    set_default_variables(_QUIET)
    ray = load_ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or environment().get("RAY_ADDRESS") or None
    if address is not None and "://" in address:
        raise ConfigError(f"--ray: {address}: a run is driven from a node of the cluster, by its HOST:PORT")
    _init(ray, address)
    try:
        yield ray
    finally:
        ray.shutdown()


def _init(ray: Any, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError:
            ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
        return
    if address not in _RAYS_OWN:
        _reach(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"--ray: no Ray cluster at {address}: {str(error).splitlines()[0]}") from error


def _reach(address: str) -> None:
    """Find out soon whether anybody is there: Ray itself tries for more than a minute.

    Raises:
        ConfigError: nobody is.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"--ray: no Ray cluster at {address}: an address is HOST:PORT, as in head:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--ray: no Ray cluster at {address}: {error}") from error
