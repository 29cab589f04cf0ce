"""What a loaded model is to the service: its name, its template, how its maker wants it sampled.

Reads the file's own words through the backend; knows no request and no socket.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from rbee import bee
from rbee.config import WorkerConfig
from rbee.contracts.limits import Fraction, Temperature, TopK
from rbee.worker.engine.llama.backend import LlamaBackend
from rbee.worker.engine.sampling import Sampling
from rbee.worker.files import find_adapters
from rbee.worker.prepare import DEFAULTS, LoadedModel
from rbee.worker.reasoning import marks_of
from rbee.worker.template import ChatTemplate
from rbee.worker.tools.forms import form_of, visible_specials

log = logging.getLogger(__name__)
_BOUNDS = {"temperature": Temperature, "top_k": TopK, "top_p": Fraction, "min_p": Fraction}


def described(config: WorkerConfig, path: Path, backend: LlamaBackend) -> LoadedModel:
    vocabulary = backend.vocabulary
    embedded = path == bee.path()
    recommended = Sampling(bee.SAMPLING["temperature"]) if embedded else _recommended(backend)
    source = backend.meta("tokenizer.chat_template")
    form = form_of(source or "", lambda mark: vocabulary.token_of(mark) is not None)
    marks = marks_of(source or "")
    vocabulary.show(visible_specials(form) | ({marks.opening, marks.closing} if marks else set()))
    return LoadedModel(
        id=config.model_id or (bee.ID if embedded else _id_of(config.model, path)),
        path=path,
        sha256=bee.SHA256 if embedded else config.sha256,
        slots=config.slots,
        context=backend.context,
        vocabulary=vocabulary,
        template=ChatTemplate(source, vocabulary.bos, vocabulary.eos),
        bos=vocabulary.bos if vocabulary.adds_bos else "",
        guide=lambda: vocabulary.guide,
        recommended=recommended,
        form=form,
        marks=marks,
        adapters=tuple(find_adapters(config.lora)),
        speculate_tokens=config.speculate_tokens,
        eyes=backend.eyes,
        generates=backend.nature.generates,
        embeds=backend.nature.embeds,
        pairs=backend.pairs if backend.nature.ranks else None,
    )


def _id_of(name: str, path: Path) -> str:
    return path.name if os.sep in name and Path(name).is_file() else name


def _recommended(backend: LlamaBackend) -> Sampling:
    """What the model's maker wrote into the file (`general.sampling.*`), over the defaults. What is
    out of a request's bounds is not believed."""
    keys = {"temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"}
    found = {field: backend.meta(f"general.sampling.{key}") for field, key in keys.items()}
    values: dict[str, Any] = {}
    for field, text in found.items():
        try:
            if text is not None:
                values[field] = msgspec.convert(text, _BOUNDS[field], strict=False)
        except msgspec.ValidationError as exc:
            log.warning("the file recommends %s %r, which is ignored: %s", field, text, exc)
    return replace(DEFAULTS, **values)
