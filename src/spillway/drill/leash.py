"""Run a program that ends when the process that started it does, however that ends: `leash.py PARENT NICE PROGRAM …`.

Run by its path and without the site packages, so that it costs nothing; it becomes the program.
"""

import contextlib
import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

parent, priority, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
with contextlib.suppress(PermissionError):  # only root may be quicker than others
    os.nice(priority)
if os.getppid() != parent:
    sys.exit(1)  # it ended before its end could be heard
os.execvp(program[0], program)  # noqa: S606 - the drill's own list
