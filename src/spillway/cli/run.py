"""`spillway run`: a file of requests in, a file of results out."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spillway.cli.output import print_json, print_table, say
from spillway.core.errors import ConfigError

if TYPE_CHECKING:
    from spillway.batch import Run, RunOptions, RunSummary
    from spillway.batch.report import Recorder
    from spillway.core.options import Deployment
    from spillway.stores.shared import Store

EPILOG = """\b
Examples:
  spillway run requests.jsonl -o results.jsonl
  spillway run requests.jsonl.gz -o results.jsonl -d gpt-4o-mini --max-cost 5
  spillway run requests.jsonl -o results.jsonl --resume --retry-failed
  cat requests.jsonl | spillway run - -o results.jsonl --ordered
  spillway run requests/ -o results.jsonl --ray=head:6379"""

_PRIORITIES = ("background", "normal", "high", "critical")


class _Number(click.ParamType[float]):
    """A finite number, 0 or more, or only more."""

    name = "number"

    def __init__(self, *, above_zero: bool = False) -> None:
        self._above_zero = above_zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number that was written."""
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or number < 0 or (self._above_zero and number == 0):
            self.fail(f"must be a number {'> 0' if self._above_zero else '>= 0'}, not {value!r}", param, ctx)
        return number


class _Command(click.Command):
    """`--ray` takes an address after `=` only: what follows it without one is the next argument."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return what is left of the arguments."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, ["--ray=" if at < end and a == "--ray" else a for at, a in enumerate(args)])


@click.command(cls=_Command, epilog=EPILOG)
@click.argument("input_", metavar="INPUT")
@click.option("-o", "--output", metavar="OUTPUT", help="The file of results; `OUTPUT.spillway` is kept beside it.")
@click.option(
    "-c", "--config", metavar="FILE", help="The project file; default: ./spillway.toml, then $SPILLWAY_CONFIG."
)
@click.option(
    "-d",
    "--deployment",
    metavar="NAME",
    help="The deployment or group to ask, whatever lines say. Without a project file: a model, with its provider's "
    "usual environment key.",
)
@click.option("--resume", is_flag=True, help="Go on where an earlier run ended, however it ended.")
@click.option("--retry-failed", is_flag=True, help="With --resume: take the error lines out and send them again.")
@click.option("--ordered", is_flag=True, help="Results in the order of the input; default: of completion.")
@click.option("--concurrency", type=click.IntRange(min=1), metavar="N", help="Lines under way at once.")
@click.option("--max-cost", type=_Number(), metavar="USD", help="Never spend more; exits 3 when that stops the run.")
@click.option(
    "--give-up-after",
    type=_Number(above_zero=True),
    default=1800.0,
    show_default=True,
    metavar="SECONDS",
    help="Exit 3 when nothing has succeeded for so long.",
)
@click.option(
    "--priority",
    type=click.Choice(_PRIORITIES, case_sensitive=False),
    default="normal",
    show_default=True,
    help="Beside other users of the same deployments.",
)
@click.option("--report", metavar="FILE.html", help="Also write a report of the run.")
@click.option("--dry-run", is_flag=True, help="Print lines, tokens and cost; send and write nothing.")
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="Send the first N lines only.")
@click.option(
    "--ray",
    metavar="[=ADDRESS]",
    help="Spread the lines over a Ray cluster (extra ray): that at HOST:PORT, else at $RAY_ADDRESS, else one on this "
    "machine, started where none runs.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(input_: str, **options: Any) -> int:
    """Answer a file of requests.

    INPUT is JSON Lines, also gzipped, Parquet, a folder of such files, or - for standard input. Exits 0 when every line
    was answered, 1 when some are error lines, 3 when the run stopped early and --resume goes on with it; 130 after
    Ctrl-C, 143 after SIGTERM.
    """
    as_json: bool = options["as_json"]
    if options["dry_run"]:
        return _estimate(input_, options, as_json=as_json)
    if options["output"] is None:
        raise click.UsageError("-o OUTPUT is missing")
    if options["retry_failed"] and not options["resume"]:
        raise click.UsageError("--retry-failed goes with --resume")
    from spillway.batch import FileTroubleError, RunOptions
    from spillway.core.priority import Priority

    wanted = RunOptions(
        input=input_,
        output=Path(options["output"]),
        deployment=options["deployment"],
        resume=options["resume"],
        retry_failed=options["retry_failed"],
        ordered=options["ordered"],
        concurrency=options["concurrency"],
        max_cost_usd=options["max_cost"],
        give_up_after_s=options["give_up_after"],
        priority=Priority.parse(options["priority"]),
        limit=options["limit"],
    )
    report = None if options["report"] is None else _report_path(options["report"])
    deployments, store = _deployments(options["config"], options["deployment"])
    try:
        summary = _run(deployments, store, wanted, report, options["ray"])
    except FileTroubleError as error:
        say("error", f"{error}; nothing was sent")
        return 3
    _show(summary, as_json=as_json)
    return summary.exit_code


def _deployments(config: str | None, name: str | None) -> tuple[tuple[Deployment, ...], str | Store]:
    from spillway.runtime.config import deployment_for_model, environment, find_config, load, require_config
    from spillway.runtime.store import MEMORY, store_of

    environ = environment()
    path = find_config(config, environ)
    if path is None and name is not None:
        return (deployment_for_model(name, environ),), MEMORY
    if path is None:
        try:
            path = require_config(config, environ)
        except ConfigError as error:
            raise ConfigError(f"{error}; or name a model with -d") from None
    project = load(path)
    return project.deployments, store_of(project)


def _report_path(given: str) -> Path:
    path = Path(given)
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"--report: {path} can't be a file")
    return path


def _run(
    deployments: tuple[Deployment, ...],
    store: str | Store,
    options: RunOptions,
    report: Path | None,
    ray_address: str | None,
) -> RunSummary:
    from spillway.batch import Run
    from spillway.runtime.loops import new_event_loop

    with contextlib.ExitStack() as open_while_running:
        far = {} if ray_address is None else _over_ray(open_while_running, ray_address, store, options)
        runner = open_while_running.enter_context(asyncio.Runner(loop_factory=new_event_loop))
        recorder = None
        if report is not None:
            from spillway.batch.report import Recorder

            recorder = Recorder(runner.get_loop().time)
        run = Run(deployments, options, observers=[] if recorder is None else [recorder], store=store, **far)
        summary = runner.run(_go(run, recorder))
    if report is not None and recorder is not None:
        _write_report(report, recorder, summary, options.max_cost_usd)
    return summary


def _over_ray(stack: contextlib.ExitStack, address: str, store: str | Store, options: RunOptions) -> dict[str, Any]:
    """Connect to Ray for as long as `stack` is open; return how a `Run` has its workers answer."""
    from spillway.batch.opening import check_output
    from spillway.ray.connection import connected
    from spillway.ray.pool import WorkerPool, workers_that_fit

    # Ray takes seconds to start: what can be refused before is.
    check_output(options.output, resume=options.resume)
    ray = stack.enter_context(connected(address or None))
    workers = workers_that_fit(ray, options.concurrency)
    return {
        "answers": lambda deployments, observers: WorkerPool(
            deployments, observers, ray=ray, workers=workers, store=store
        ),
        "processes": workers,
    }


def _write_report(path: Path, recorder: Recorder, summary: RunSummary, max_cost_usd: float | None) -> None:
    from spillway.batch.report import write_report

    try:
        write_report(path, recorder, summary, max_cost_usd=max_cost_usd)
    except OSError as error:
        say("warning", f"the report {path} can't be written: {error.strerror or error}; the output is whole")


async def _go(run: Run, recorder: Recorder | None) -> RunSummary:
    from spillway.batch.progress import Progress, show

    if recorder is not None:
        for name in run.cluster.deployments():
            recorder.watch(name, run.cluster.deployment(name).circuit_breaker())
    progress = Progress(run, asyncio.get_running_loop().time)
    with _stopped_by_signals(run):
        shown = asyncio.create_task(show(progress, sys.stderr))
        try:
            return await run.go()
        finally:
            shown.cancel()
            await asyncio.wait({shown})


@contextlib.contextmanager
def _stopped_by_signals(run: Run) -> Iterator[None]:
    """Stop the run in order at the first SIGINT or SIGTERM; the second ends the process at once."""
    from spillway.batch import Ending

    loop = asyncio.get_running_loop()
    endings = {signal.SIGINT: Ending.INTERRUPTED, signal.SIGTERM: Ending.TERMINATED}
    before = {number: signal.getsignal(number) for number in endings}

    def first(number: signal.Signals) -> None:
        for each in endings:
            loop.remove_signal_handler(each)
            signal.signal(each, lambda again, _: os._exit(128 + again))
        run.stop(endings[number], f"stopped by {number.name}")

    for number in endings:
        loop.add_signal_handler(number, first, number)
    try:
        yield
    finally:
        for number in endings:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


def _show(summary: RunSummary, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        found = msgspec.to_builtins(summary)
        found["exit_code"] = summary.exit_code
        print_json(found)
    else:
        print_table(
            ("deployment", "ok", "retried", "fell back", "failed", "p50", "p95", "p99", "TTFT", "tokens", "cost"),
            [_row(name, m) for name, m in summary.deployments.items() if m.requests or m.refused],
        )
        errors = ", ".join(f"{code} {count}" for code, count in summary.errors.items())
        print_table(
            ("lines", "ok", "errors", "unwritten", "cost", "time"),
            [
                (
                    str(summary.lines),
                    str(summary.ok),
                    f"{summary.failed} ({errors})" if errors else "0",
                    str(summary.unwritten),
                    _usd(summary.cost_usd if summary.cost_known else None),
                    f"{summary.elapsed_s:.1f} s",
                )
            ],
        )
    if summary.message:
        left = f"; {summary.unwritten} of {summary.lines} lines are unwritten" if summary.unwritten else ""
        say("stopped", f"{summary.message}{left}; go on with --resume")


def _row(name: str, m: Any) -> tuple[str, ...]:
    failed = ", ".join(f"{code} {count}" for code, count in sorted(m.errors.items()))
    return (
        name,
        str(m.succeeded),
        str(m.retried),
        str(m.fell_back),
        failed or "0",
        _ms(m.latency_p50_s),
        _ms(m.latency_p95_s),
        _ms(m.latency_p99_s),
        _ms(m.first_content_p50_s),
        f"{m.input_tokens} + {m.output_tokens}",
        _usd(m.cost_usd),
    )


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"${amount:.4f}"


def _estimate(input_: str, options: dict[str, Any], *, as_json: bool) -> int:
    import msgspec

    from spillway.batch.estimate import estimate

    deployments, _ = _deployments(options["config"], options["deployment"])
    found = estimate(deployments, input_, asked=options["deployment"], limit=options["limit"])
    if as_json:
        print_json({**msgspec.to_builtins(found), "max_cost_usd": found.max_cost_usd})
    else:
        print_table(
            ("target", "lines", "input tokens, about", "output tokens, at most", "cost, at most"),
            [
                (name, str(t.lines), str(t.input_tokens), str(t.max_output_tokens), _usd(t.max_cost_usd))
                for name, t in sorted(found.targets.items())
            ],
        )
        print_table(
            ("lines", "bad lines", "cost, at most"),
            [(str(found.lines), str(found.bad_lines), _usd(found.max_cost_usd))],
        )
    for problem in found.problems:
        say("warning", problem)
    return 0
