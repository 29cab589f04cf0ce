"""What in a request does not go together. Pure: it knows the request alone, and no model."""

from __future__ import annotations

from rbee.contracts.fleet import WorkerBeat
from rbee.contracts.operations import Infer
from rbee.errors import BadRequest, HiveNotFound, Invalid, NotFound, WorkerNotFound
from rbee.naming import device_fits
from rbee.wire.sse import MAX_FRAME_BYTES
from rbee.worker.forced import has_form
from rbee.worker.sight import pictures_in

SCORE_BYTES = 128
"""What one token with its log probability takes in an event, or one of its alternatives."""
_ASK = "the queen knows all of them"


def check_place(infer: Infer, own: WorkerBeat) -> None:
    """That a request which came straight to this worker was not meant for another one. A queen
    fulfils these wishes by her choice, and does not pass them on. Raises `NotFound` and its kind.
    """
    if infer.worker_id not in (None, own.id):
        raise WorkerNotFound(f"This is worker {own.id!r}.", hint=_ASK, path="$.worker_id")
    if infer.hive_id not in (None, own.hive_id):
        whose = f"hive {own.hive_id!r}" if own.hive_id else "no hive"
        raise HiveNotFound(f"This worker belongs to {whose}.", hint=_ASK, path="$.hive_id")
    if not device_fits(own.device, infer.device):
        raise NotFound(f"This worker runs on {own.device}.", hint=_ASK, path="$.device")


def check(infer: Infer) -> None:
    """Raises `BadRequest` and its kind, naming the field: nothing is dropped in silence."""
    if (infer.prompt is None) == (infer.messages is None):
        raise Invalid("Give either messages (a chat) or prompt (a completion).", path="$.prompt")
    if infer.messages is not None and infer.suffix is not None:
        raise Invalid("A suffix goes with a prompt, not with messages.", path="$.suffix")
    if infer.messages is None and infer.chat_template_kwargs is not None:
        raise Invalid(
            "Only messages are rendered by a template; a prompt is taken as it stands.",
            path="$.chat_template_kwargs",
        )
    if infer.prompt in ("", []) and infer.suffix is None:
        raise BadRequest("The prompt is empty.", path="$.prompt")
    if infer.max_tokens == 0 and not infer.echo:
        raise Invalid(
            "max_tokens is 0, so there would be no answer.",
            hint="with echo the prompt is reported, and scored if logprobs are asked for",
            path="$.max_tokens",
        )
    if infer.echo and pictures_in(infer.messages or ()):
        raise BadRequest("A chat with images cannot be echoed: they are no text.", path="$.echo")
    if has_form(infer) and infer.ignore_eos:
        raise Invalid("An answer of a given form ends where that ends.", path="$.ignore_eos")


def check_echo(infer: Infer, prompt_tokens: int) -> None:
    """That a prompt which is to be scored fits into the one event that tells of it."""
    if infer.echo and infer.logprobs is not None:
        most = MAX_FRAME_BYTES // (SCORE_BYTES * (1 + infer.logprobs))
        if prompt_tokens > most:
            raise BadRequest(
                f"A prompt of {prompt_tokens} tokens cannot be scored with {infer.logprobs}"
                f" alternatives each; {most} tokens can.",
                hint="ask for fewer logprobs, or score it in parts",
                path="$.logprobs",
            )
