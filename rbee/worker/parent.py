"""No orphans: a worker ends when its hive does, even when the hive was killed with -9.

On Linux the kernel sends SIGKILL when the parent dies (`PR_SET_PDEATHSIG`, prctl(2)); elsewhere a
thread looks whether the parent is still there.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
WATCH_S = 0.5


def die_with(parent: int) -> None:
    """End this process when process `parent` ends. Call it first of all; `parent` starts us."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()
    if os.getppid() != parent:  # it died before we were listening
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)
