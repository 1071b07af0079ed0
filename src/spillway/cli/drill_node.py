"""A node of the drill: a gateway or a batch process of the project file here, with a "minute" of another length.

`python -m spillway.cli.drill_node WINDOW_S SYNC_S SILENT_S serve HOST:PORT`, or `… run INPUT OUTPUT`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spillway.runtime.config import FILE_NAME, load
from spillway.stores.redis import RedisStore

if TYPE_CHECKING:
    from spillway.runtime.project import ProjectFile


def main(argv: Sequence[str]) -> int:
    """Run a node until it is through, or told to stop, and return the exit code."""
    window_s, sync_s, silent_s = map(float, argv[:3])
    what, *where = argv[3:]
    project = load(FILE_NAME)
    cluster = project.cluster
    store = RedisStore(cluster.store, name=cluster.name, window_s=window_s, sync_s=sync_s, silent_s=silent_s)
    if what == "serve":
        from spillway.cli.output import say
        from spillway.gateway.binding import claim, read_bind
        from spillway.gateway.serving import Running, run_gateway

        return run_gateway(Running(project, claim(read_bind(where[0])), say, store=store))
    return _run(project, store, input_=where[0], output=Path(where[1]))


def _run(project: ProjectFile, store: RedisStore, *, input_: str, output: Path) -> int:
    from spillway.batch import Ending, Run, RunOptions
    from spillway.runtime.loops import new_event_loop

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        run = Run(project.deployments, RunOptions(input=input_, output=output, resume=True), store=store)
        runner.get_loop().add_signal_handler(signal.SIGTERM, run.stop, Ending.TERMINATED, "told to")
        return runner.run(run.go()).exit_code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
