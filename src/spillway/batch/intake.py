"""From raw lines to what can be sent: every id once, every target known."""

from __future__ import annotations

from spillway.batch.lines import BadLine, Line, parse_line, read_id
from spillway.batch.parts import LONGEST_LINE
from spillway.batch.seen import IdSet
from spillway.batch.source import Fingerprint
from spillway.batch.targets import Target, Targets
from spillway.core.errors import BadRequest


class Intake:
    """Reads the lines of one input, in their order.

    Args:
        about: the input.
        targets: where its lines may lead.
    """

    def __init__(self, about: Fingerprint, targets: Targets) -> None:
        self._run = about.digest[:16]
        self._ids = IdSet(about.requests)
        self._targets = targets

    def read(self, number: int, raw: bytes | None) -> tuple[Line, Target] | BadLine:
        """Return what a line asks and whom, or what is wrong with it; None is a line that was too long to read."""
        if raw is None:
            message = f"the line is longer than {LONGEST_LINE // 2**20} MiB"
            return self._bad(number, str(number), message)
        line = parse_line(raw, number, run=self._run)
        if not self._ids.add(line.custom_id):
            return self._bad(number, line.custom_id, "an earlier line has the same id")
        if isinstance(line, BadLine):
            return line
        try:
            return line, self._targets.resolve(line.model)
        except BadRequest as error:
            return self._bad(number, line.custom_id, error.message)

    def pass_over(self, number: int, raw: bytes | None) -> None:
        """Take note of the id of a line that needs no reading."""
        if raw is not None:
            self._ids.add(read_id(raw, number))

    @staticmethod
    def _bad(number: int, custom_id: str, message: str) -> BadLine:
        return BadLine(number=number, custom_id=custom_id, message=message)
