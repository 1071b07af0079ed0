"""The nodes of a drill: gateways or batch processes, each with a folder, a key and a link to the store of its own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from spillway.drill.processes import Program
from spillway.drill.proxy import HOST, Link
from spillway.drill.sizes import Size

NODE_MODULE = "spillway.cli.drill_node"
"""Runs a gateway or a batch with another window than a minute's."""

KEY_VARIABLE = "DRILL_KEY"
_STARTS_WITHIN_S = 60.0
_READY = "serving: "

_PROJECT = """\
[cluster]
name = "{cluster}"
store = "redis://{host}:{port}/0"
state = ""

[[deployment]]
name = "{model}"
model = "gpt-4o-mini"
runtime = "openai"
[deployment.runtime_config]
endpoint = "{provider}/v1"
api_key = {{ from_env = "{variable}" }}
[deployment.pricing]
input_per_mtok_usd = 0.15
output_per_mtok_usd = 0.6
{options}
"""

MODEL = "drilled"


def key_of(node: int) -> str:
    """Return the key that a node shows the provider, by which its requests are told from others'."""
    return f"sk-sim-node-{node}"


def node_of(key: str) -> int:
    """Return whose key that is."""
    return int(key.rpartition("-")[2])


class Node:
    """One process that sends requests, and its way to the store.

    Args:
        number: from 1 on.
        folder: of the drill; the node gets one of its own in it.
        store: the store's socket.
        provider: where the provider is.
        options: tables of the deployment, in TOML.
        environ: what the process finds beside its key.
        cluster: the name under which it shares.
        size: the spans of time that it shares by.

    Attributes:
        link: to the store.
        program: the process.
    """

    command: ClassVar[Sequence[str]] = ()
    """What it runs, and with what."""

    def __init__(
        self,
        number: int,
        folder: Path,
        *,
        store: Path,
        provider: str,
        options: str,
        environ: Mapping[str, str],
        cluster: str,
        size: Size,
    ) -> None:
        self.number = number
        self.folder = folder / f"node-{number}"
        self.folder.mkdir()
        self.link = Link(store)
        self._provider = provider
        self._options = options
        self._cluster = cluster
        spans = (f"{span:g}" for span in (size.window_s, size.sync_s, size.silent_s))
        argv = [sys.executable, "-m", NODE_MODULE, *spans, *self.command]
        self.program = Program(
            f"node {number}",
            argv,
            self.folder / "log",
            environ={**environ, KEY_VARIABLE: key_of(number)},
            priority=3,
        )

    def __repr__(self) -> str:
        return f"<Node {self.number} {self.program} {self.link}>"

    async def prepare(self) -> None:
        """Open the link and write the project file, which names it."""
        await self.link.start()
        text = _PROJECT.format(
            cluster=self._cluster,
            host=HOST,
            port=self.link.port,
            model=MODEL,
            provider=self._provider,
            variable=KEY_VARIABLE,
            options=self._options,
        )
        (self.folder / "spillway.toml").write_text(text)

    async def start(self) -> None:
        """Start the process, once more where it was killed."""
        self.program.start()

    def kill(self) -> None:
        """End the process at once."""
        self.program.kill()

    def pause(self) -> None:
        """Stop the process in the middle of whatever it does."""
        self.program.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.program.send(signal.SIGCONT)

    async def stop(self) -> None:
        """End the process and close the link."""
        try:
            await self.program.stop()
        finally:
            await self.link.aclose()


class GatewayNode(Node):
    """A gateway.

    Attributes:
        url: where it is asked; None while it is not there to be asked.
    """

    command = ("serve", f"{HOST}:0")
    url: str | None = None

    async def start(self) -> None:
        """Start it, and return when it can be asked."""
        await super().start()
        said = await self.program.says(_READY, _STARTS_WITHIN_S)
        self.url = said.partition("/v1")[0]

    def kill(self) -> None:
        """End it at once."""
        self.url = None
        super().kill()


class BatchNode(Node):
    """A batch process: it goes on where it, or the one before it, was killed.

    Attributes:
        input: what it answers.
        output: where its answers go.
    """

    command = ("run", "in.jsonl", "out.jsonl")

    @property
    def input(self) -> Path:
        """What it answers."""
        return self.folder / "in.jsonl"

    @property
    def output(self) -> Path:
        """Where the answers go."""
        return self.folder / "out.jsonl"
