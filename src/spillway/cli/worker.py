"""One worker of `spillway serve --workers N`: run by its parent, and by nobody else."""

from __future__ import annotations

import logging
import os
import sys

from spillway.core.errors import ConfigError, InferenceError
from spillway.gateway.serving import Running, run_gateway
from spillway.gateway.workers import Errand, Line
from spillway.gateway.workers.line import ENDED
from spillway.runtime.config import load


class _Lines(logging.Handler):
    """Tells the parent what the library logs."""

    def __init__(self, line: Line) -> None:
        super().__init__(logging.WARNING)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one record."""
        try:
            self._line.say(record.levelname.lower(), record.getMessage())
        except Exception:  # noqa: BLE001 - logging's own contract: a record that can't be told stops nobody
            self.handleError(record)


def main() -> int:
    """Serve until a signal, or until the parent is gone; return the exit code."""
    errand = Errand.from_argument(sys.argv[-1])
    line = Line(errand.line)
    logging.getLogger("spillway").addHandler(_Lines(line))
    try:
        running = Running(load(errand.config), errand.bind, line.say, line=line)
        code = run_gateway(running)
        line.say(ENDED, str(running.ended))
    except ConfigError as error:
        line.say("error", str(error))
        return 2
    except InferenceError as error:
        line.say("error", str(error))
        return 1
    except OSError as error:
        line.say("error", f"{error.filename}: {error.strerror}" if error.filename else os.strerror(error.errno or 0))
        return 1
    finally:
        line.close()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
