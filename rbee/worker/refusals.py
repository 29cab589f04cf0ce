"""What in a request does not go together. Pure: it knows the request alone, and no model."""

from __future__ import annotations

from rbee.contracts.operations import Infer
from rbee.errors import BadRequest, Invalid
from rbee.worker.forced import has_form
from rbee.worker.sight import pictures_in


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
