"""How rbee logs: one line an event, to stderr, as `time level role: message`.

Text that came from outside is logged with `%r`, so that it cannot forge a line.
"""

from __future__ import annotations

import logging
import sys

LEVELS = ("debug", "info", "warning", "error")


def setup(role: str, level: str = "info") -> None:
    """Send the root logger to stderr. Called once, by the process that runs `role`."""
    handler = logging.StreamHandler(sys.stderr)
    pattern = f"%(asctime)s.%(msecs)03d %(levelname)-7s {role}: %(message)s"
    handler.setFormatter(logging.Formatter(pattern, "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("asyncio", "httpx", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
