"""The one command: finds the subcommand, and turns what it raises into a line on stderr and an exit code.

0    success
1    the work itself failed
2    usage or configuration error
3    stopped early, can be resumed
130  Ctrl-C, after an orderly stop
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from spillway.cli.output import LogLines, say
from spillway.core.errors import ConfigError, InferenceError
from spillway.runtime.config_errors import near, quoted

COMMANDS = {
    "demo": "Watch 300 prompts survive three misbehaving providers.",
    "run": "Answer a file of requests.",
    "serve": "Run the gateway: any SDK in, any provider out.",
    "sim": "Run the provider simulator.",
    "init": "Write a commented spillway.toml.",
    "check": "Validate the project file and its secrets.",
    "status": "Show the deployments of a running gateway: queue, in flight, breaker, limits, spend.",
    "breaker": "Force the circuit of a running gateway's deployment open, or close it.",
    "rotate-credentials": "Have a running gateway read the secret of a deployment again.",
    "import": "Write a spillway.toml from another gateway's configuration.",
    "models": "List known models: context window, output limit, prices.",
    "cost-report": "Show what a running gateway has spent, and the tokens it took.",
    "keys": "Manage gateway keys in the state file.",
    "drill": "Make a cluster of processes fail and measure what it promises.",
}
"""Each command is `command` in the module of its name; the line is what the overview says, so that it loads none."""

_MODULES = {"import": "importing"}
"""Modules of commands whose names no module can have."""


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the overview."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Return the command of that name, None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        name = _MODULES.get(cmd_name, cmd_name.replace("-", "_"))
        module = importlib.import_module(f"spillway.cli.{name}")
        found: click.Command = module.command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is asked for; an unknown one names the nearest."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(f"no command {quoted(name)} ({near(name, COMMANDS) or ', '.join(COMMANDS)})", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the overview without importing what it speaks of."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: spillway init && spillway check",
)
@click.version_option(package_name="spillway", prog_name="spillway", message="%(prog)s %(version)s")
def commands() -> None:
    """Everything between a program and remote models: queue, limits, retries, breakers, budgets, batches."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Args:
        args: instead of the process's own.
    """
    log, lines = logging.getLogger("spillway"), LogLines(logging.WARNING)
    log.addHandler(lines)
    try:
        code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the results has gone; what is still buffered must not fail a second time at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    finally:
        log.removeHandler(lines)
    raise SystemExit(code)


def _run(args: Sequence[str] | None) -> int:
    try:
        code = commands.main(args, prog_name="spillway", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else ""
        say("error", f"{error.format_message()}{f' (see {path} --help)' if path else ''}")
        return 2
    except ConfigError as error:
        say("error", str(error))
        return 2
    except InferenceError as error:
        say("error", str(error))
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:
        say("error", f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        return 1
    return code if isinstance(code, int) else 0
