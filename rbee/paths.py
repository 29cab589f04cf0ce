"""Where rbee keeps its files: all under `RBEE_HOME` when it is set, else in the platform's folders.

`platformdirs` is imported only where it is needed: the command line starts without it.
"""

from __future__ import annotations

import os
from pathlib import Path


def config_dir() -> Path:
    """`queen.toml`, `hive.toml`, `worker.toml`."""
    return _folder("config", "user_config_path")


def models_dir() -> Path:
    """GGUF files; the folder is the catalog's truth."""
    return _folder("", "user_data_path") / "models"


def state_dir() -> Path:
    """What is running (`up.json`), logs of background servers."""
    return _folder("state", "user_state_path")


def _home() -> str:
    return os.environ.get("RBEE_HOME", "")


def _folder(name: str, platform: str) -> Path:
    home = _home()
    return Path(home).expanduser().absolute() / name if home else _platform(platform)


def _platform(what: str) -> Path:
    import platformdirs

    found: Path = getattr(platformdirs, what)("rbee", appauthor=False)
    return found
