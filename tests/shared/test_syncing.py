"""The one task that keeps a process in step with a store."""

import asyncio
import logging

from spillway.core.clock import loop_clock
from spillway.stores.commons import Commons
from spillway.stores.shared.sharing import Sharing
from spillway.testing import run_virtual


class Wrong:
    """A part that breaks at its first answer."""

    def __init__(self):
        self.begun = self.failures = 0

    def next_sync(self):
        return float("-inf") if self.failures < 3 else float("inf")

    def begin(self, run, *, leaving):
        self.begun += 1
        raise LookupError("a part is wrong")

    def end(self, answer):
        raise AssertionError("nothing was answered")

    def failed(self):
        self.failures += 1


def test_a_part_that_is_wrong_is_told_of_and_tried_again(caplog):
    part = Wrong()

    async def main():
        sharing = Sharing(Commons(clock=loop_clock()), loop_clock())
        sharing.syncing.add(part)
        assert not await sharing.syncing.synced(1.0)
        await asyncio.sleep(1.0)
        part.begin = lambda run, leaving: ("presence", ("a", "b", "c", "d", "e"), b"\x80")
        await sharing.aclose()

    with caplog.at_level(logging.ERROR):
        run_virtual(main())
    assert part.begun >= 3 and part.failures >= 3
    assert "could not be synced" in caplog.text
