"""llama.cpp started, its messages sent to our log, and a model's file read into memory."""

from __future__ import annotations

import ctypes
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp as c

from rbee.errors import BadModelFile

log = logging.getLogger(__name__)
_ERROR = 4
_errors: deque[str] = deque(maxlen=4)
"""What llama.cpp last said went wrong: its functions return no reasons."""


@c.llama_log_callback  # type: ignore[untyped-decorator]
def to_log(level: int, text: bytes, _: Any) -> None:
    """llama.cpp's own messages; all but its errors are detail to us."""
    line = text.decode("utf-8", "replace").rstrip()
    failed = level == _ERROR
    if failed:
        _errors.append(line.strip())
    if line.strip("."):
        log.log(logging.ERROR if failed else logging.DEBUG, "llama.cpp: %s", line)


def forget_errors() -> None:
    """Before a call that may fail."""
    _errors.clear()


def first_error() -> str:
    """The first thing that went wrong since then, in llama.cpp's words."""
    return _errors[0].rstrip(".") if _errors else "no reason given"


def start() -> None:
    """Once per process, before anything else of llama.cpp."""
    c.llama_log_set(to_log, ctypes.c_void_p(0))
    c.llama_backend_init()


def supports_gpu() -> bool:
    return bool(c.llama_supports_gpu_offload())


def load(path: Path, device: str, gpu_layers: int, on_progress: Callable[[float], None]) -> Any:
    params = c.llama_model_default_params()
    params.n_gpu_layers = 0 if device == "cpu" else gpu_layers
    params.use_extra_bufts = not _uses_amx()
    kind, _, number = device.partition(":")
    if kind == "cuda" and number:
        params.split_mode = c.LLAMA_SPLIT_MODE_NONE
        params.main_gpu = int(number)

    @c.llama_progress_callback  # type: ignore[untyped-decorator]
    def progress(part: float, _: Any) -> bool:
        on_progress(part)
        return True

    params.progress_callback = progress
    forget_errors()
    model = c.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        why = first_error().rpartition("error loading model: ")[2]
        raise BadModelFile(
            f"llama.cpp cannot load {path.name}: {why}.",
            hint="the worker's log says why; the file may be broken or of an unknown architecture",
        )
    return model


def _uses_amx() -> bool:
    """GCC 12 miscompiles llama.cpp's AMX kernels (half of the tile configuration stays whatever was
    on the stack): prompts then crash the process. The launcher builds without AMX; a build that has
    it is run without the buffers that use it, which costs some speed and is always right."""
    found = b"AMX_INT8 = 1" in c.llama_print_system_info()
    if found:
        log.warning("llama.cpp was built with AMX, which is not safe; running without it")
    return found
