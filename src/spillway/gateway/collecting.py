"""The garbage collector of a process that serves: what is built once is not looked at again, the rest seldom.

A request leaves no cycles behind, so looking for them is work for nothing: a tenth of all, with the usual thresholds.
"""

from __future__ import annotations

import gc

FIRST = 50_000
"""Objects made and not freed between two looks at the youngest; the usual is 700."""

_OLDER = 20


def settle_down() -> None:
    """Have what there is now looked at never again, and what comes seldom; to be called again after a reload.

    What an earlier call has set apart is looked at once more, so that an exchanged Cluster is freed.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(FIRST, _OLDER, _OLDER)
