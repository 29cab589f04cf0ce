"""Bee, the model that ships inside rbee, so that the first prompt is answered without a download.

This module knows where the weights lie and how they are recognised. It opens nothing and knows
nothing of catalogs or engines; how the weights were made is told by `rbee.bee.recipe`, which
nothing else imports. What Bee answers reliably, and where it breaks, stands in README.md.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

ID: Final = "bee"
SHA256: Final = "f0c2da516585540facfa5423f7eb5eeccde7b77bd0372e7402384ae23c7ffce2"

# README.md's accuracy was measured so; above 0 a model this small soon mixes its words up.
SAMPLING: Final[Mapping[str, float]] = MappingProxyType({"temperature": 0.0})


def path() -> Path:
    """Where the weights lie; rbee is always installed on a real file system."""
    from importlib.resources import files  # costs more than the rest of this module together

    return Path(str(files(__name__))) / "bee.gguf"
