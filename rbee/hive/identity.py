"""Who this hive is, and whether a request means it."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from rbee.errors import Misdirected


@dataclass(frozen=True)
class Identity:
    """`url` is where others reach this hive, `queen` to whom it reports."""

    id: str
    url: str
    queen: str = ""

    def check(self, hive_id: str | None) -> None:
        """Raises `Misdirected` when another hive is meant."""
        if hive_id not in (None, self.id, "localhost"):
            raise Misdirected(
                f"This is hive {self.id} at {self.url}, not {hive_id}.",
                hint=f"rbee status tells where {hive_id} is, if the queen knows it",
                path="$.hive_id",
            )

    def refuse_inference(self) -> Misdirected:
        """No prompt passes through a hive."""
        queen = f"the queen at {self.queen}" if self.queen else "a queen"
        return Misdirected(
            f"This is hive {self.id}; it keeps workers and models and answers no prompts.",
            hint=f"ask {queen}",
        )


def host_id(hostname: str | None = None) -> str:
    """The machine's name, made fit to be an id."""
    name = socket.gethostname() if hostname is None else hostname
    fit = re.sub(r"[^A-Za-z0-9._-]+", "-", name.partition(".")[0]).strip("-._")
    return fit[:64].rstrip("-._") or "hive"
