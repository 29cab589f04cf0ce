"""From a request to those who write its choices. Pure; `understood` runs outside the event loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rbee.contracts.events import Done, Failed
from rbee.contracts.operations import Infer
from rbee.contracts.worker_api import Resume, Written
from rbee.errors import BadRequest
from rbee.worker.engine.draft import Lookup
from rbee.worker.engine.sampling import Sampler
from rbee.worker.engine.sequence import Sequence as Line
from rbee.worker.engine.writer import Writer
from rbee.worker.prepare import LoadedModel, Prepared
from rbee.worker.replay import Replayed, replayed


def understood(
    model: LoadedModel, infer: Infer, resume: Resume | None
) -> tuple[Prepared, list[Replayed]]:
    """A request in the engine's terms, and where each choice stands: at its beginning, or where
    another worker left it. Raises `BadRequest` and its kind, naming the field."""
    if resume is not None:
        _check(resume, infer)
    prepared = model.prepare(infer, resume)
    if resume is not None and resume.prompted:
        prepared = replace(prepared, echo=False)
    written = resume.written if resume is not None else [Written()] * infer.n
    stops = infer.stop or ()
    return prepared, replayed(prepared, stops, written, model.vocabulary, model.context)


def _check(resume: Resume, infer: Infer) -> None:
    """Raises `BadRequest` for what no answer can have been."""
    if len(resume.written) != infer.n:
        raise BadRequest(
            f"{infer.n} choices were asked for, {len(resume.written)} begun.",
            path="$.resume.written",
        )
    if any(isinstance(event, Done | Failed) for event in resume.events):
        raise BadRequest("What has ended cannot go on.", path="$.resume.events")


def writer_of(
    model: LoadedModel, key: str, choice: int, infer: Infer, prepared: Prepared, begun: Replayed
) -> Writer:
    """One choice. Only the first reports the prompt; without a token to say all have to."""
    vocabulary = model.vocabulary
    nothing = prepared.limit == 0
    line = Line(
        key,
        choice,
        prepared.prompt,
        prepared.limit,
        infer.priority,
        namespace=prepared.namespace,
        adapter=prepared.adapter,
        alone=infer.deterministic,
        images=prepared.images,
        scored=nothing or (prepared.echo and infer.logprobs is not None and choice == 0),
        answer=begun.ids,
    )
    drafts = model.speculate_tokens and not infer.deterministic
    return Writer(
        line,
        Sampler(prepared.sampling, choice, prepared.heard, vocabulary),
        begun.assembler,
        vocabulary,
        model.context,
        begun.constraint,
        infer.logprobs,
        np.asarray(vocabulary.ends, np.int64) if prepared.ignore_eos else None,
        Lookup(model.speculate_tokens) if drafts else None,
    )
