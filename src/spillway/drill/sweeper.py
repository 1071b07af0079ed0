"""Remove a folder once the process at the other end of standard input has ended: `sweeper.py FOLDER`."""

import shutil
import sys
import time
from pathlib import Path

sys.stdin.read()
folder = Path(sys.argv[1])
for _ in range(20):
    shutil.rmtree(folder, ignore_errors=True)
    time.sleep(0.05)  # noqa: TID251 - a script of its own; programs that wrote there die in the same instant
    if not folder.exists():
        break
