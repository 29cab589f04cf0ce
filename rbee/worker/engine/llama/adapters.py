"""LoRA adapters of a loaded model: read once, then one of them at a time changes what it computes.

A batch is computed under one adapter or under none, so requests that want different ones take
turns. llama.cpp plans its computation anew after every change: nothing is set that is set already.
The adapters belong to their model, and are freed with it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import llama_cpp as c

from rbee import gguf_header
from rbee.errors import BadModelFile
from rbee.worker.engine.backend import DecodeFailed
from rbee.worker.engine.llama import loading

NONE = ""
"""The name under which the model computes as it is."""
_SCALE = (ctypes.c_float * 1)(1.0)


class Adapters:
    """The named adapters of one model, and which of them its context has now."""

    def __init__(self, model: Any, files: Mapping[str, Path]) -> None:
        """Raises `BadModelFile` saying which file does not fit, and why."""
        architecture = _architecture(model) if files else ""
        self._loaded: dict[str, Any] = {}
        self._current = NONE
        for name, path in files.items():
            _check_header(name, path, architecture)
            self._loaded[name] = _load(model, name, path)

    def __repr__(self) -> str:
        return f"<Adapters {', '.join(self.names) or 'none'}; now {self._current or 'none'}>"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._loaded)

    def use(self, context: Any, name: str) -> None:
        """From the next decode on, compute under exactly this adapter; `NONE` for none. Always of
        the same context."""
        if name == self._current:
            return
        if name == NONE:
            code = c.llama_set_adapters_lora(context, None, 0, None)
        else:
            wanted = (c.llama_adapter_lora_p_ctypes * 1)(self._loaded[name])
            code = c.llama_set_adapters_lora(context, wanted, 1, _SCALE)
        if code != 0:
            raise DecodeFailed(f"llama_set_adapters_lora returned {code}", fatal=True)
        self._current = name

    def close(self) -> None:
        """Forget them, before their model is freed. Idempotent."""
        self._loaded.clear()
        self._current = NONE


def _architecture(model: Any) -> str:
    buffer = ctypes.create_string_buffer(128)
    c.llama_model_meta_val_str(model, b"general.architecture", buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")


def _check_header(name: str, path: Path, architecture: str) -> None:
    """What can be told without llama.cpp, which says less about it."""
    try:
        header = gguf_header.read(path)
    except BadModelFile as exc:
        raise _unfit(name, path, exc.message.rstrip(".")) from exc
    if header.kind != "adapter":
        raise _unfit(name, path, f"it is no adapter (its general.type is {header.kind[:40]!r})")
    if header.architecture != architecture:
        made_for = header.architecture[:40]
        raise _unfit(name, path, f"it is for {made_for!r} models, and this one is {architecture!r}")


def _load(model: Any, name: str, path: Path) -> Any:
    loading.forget_errors()
    adapter = c.llama_adapter_lora_init(model, str(path).encode())
    if not adapter:
        why = loading.first_error().rpartition("failed to apply lora adapter: ")[2]
        raise _unfit(name, path, why)
    if c.llama_adapter_get_alora_n_invocation_tokens(adapter):
        raise _unfit(name, path, "it is to begin in the middle of a prompt (aLoRA)")
    return adapter


def _unfit(name: str, path: Path, why: str) -> BadModelFile:
    return BadModelFile(
        f"The adapter {name!r} ({path.name}) cannot be used: {why}.",
        hint="an adapter fits the very model that it was trained on, as a GGUF file",
        path=f"$.lora.{name}",
    )
