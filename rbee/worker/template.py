"""Chats as the model was trained on them: its own template, from its file, in a sandbox.

1. A template is foreign code: it sees immutable values, in a sandbox with limits of time and of
   output.
2. What templates expect, as Hugging Face's `apply_chat_template` gives it: `messages`, `tools`,
   `add_generation_prompt`, `bos_token`, `eos_token`, `raise_exception`, `strftime_now`; and what a
   request adds to these (`chat_template_kwargs`), none of which it may replace.
3. Mistral's templates take ids of calls of nine letters and digits alone: others are shortened.
4. A model without a template gets ChatML, as llama.cpp does.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence, Set
from functools import cached_property
from typing import Any, NoReturn

import msgspec
from jinja2 import Template, TemplateError

from rbee.contracts.chat import Message, TextPart, Tool
from rbee.errors import BadRequest
from rbee.worker.sandbox import MAX_CHARACTERS, Sandbox, TooSlow, Watchdog, bounded
from rbee.worker.tools.forms import MISTRAL

RENDER_LIMIT_S = 2.0
_PROBE = "honeycomb"
"""What a template is asked to say, to see whether it does."""
MAX_EXTRA_BYTES = 65_536
"""What a request may add for the template, as JSON."""
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


_FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What foreign template code raises when it does not fit the chat."""


class ChatTemplate:
    """A compiled template; `render` may be called from any thread."""

    def __init__(self, source: str | None, bos: str, eos: str) -> None:
        self._bos, self._eos = bos, eos
        self._short_ids = MISTRAL.opening in (source or "")
        environment = Sandbox(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = bounded("tojson", _to_json)
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = time.strftime
        self._globals = frozenset(environment.globals)
        try:
            self._template = environment.from_string(source or CHATML)
        except (TemplateError, SyntaxError, ValueError, RecursionError, MemoryError) as exc:
            self._template, self._broken = None, str(exc)

    _template: Template | None
    _broken = ""

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] | None = None,
        extra: dict[str, Any] | None = None,
        mark: str = "",
    ) -> str:
        """The prompt for the model's next turn, with `mark` where a picture stands. Raises
        `BadRequest` when the template fails, says no, or exceeds its limits. Takes up to
        `RENDER_LIMIT_S`: never call it in the event loop."""
        if self._template is None:
            raise BadRequest(f"The model's chat template is broken: {self._broken[:300]}")
        values = {
            "tools": [msgspec.to_builtins(t) for t in tools] if tools else None,
            "add_generation_prompt": True,
            "bos_token": self._bos,
            "eos_token": self._eos,
        }
        values |= _checked(extra or {}, self._globals | values.keys() | {"messages"})
        try:
            with Watchdog(RENDER_LIMIT_S):
                seen = [
                    _as_template_sees(m, self._content(m, mark), self._short_ids) for m in messages
                ]
                return self._joined(self._template, values | {"messages": seen})
        except TooSlow as exc:
            raise BadRequest(
                f"The chat template took longer than {RENDER_LIMIT_S:.0f} s.", path="$.messages"
            ) from exc

    def _content(self, message: Message, mark: str) -> str | list[dict[str, str]]:
        texts = texts_of(message, mark)
        if not self._in_parts:
            return "".join(texts)
        return [{"type": "text", "text": text} for text in texts]

    @cached_property
    def _in_parts(self) -> bool:
        """Whether contents must be lists: templates that know nothing else leave a text out."""
        in_parts = [{"type": "text", "text": _PROBE}]
        return not self._says_probe(_PROBE) and self._says_probe(in_parts)

    def _says_probe(self, content: Any) -> bool:
        values = {
            "messages": [{"role": "user", "content": content}],
            "tools": None,
            "add_generation_prompt": True,
            "bos_token": self._bos,
            "eos_token": self._eos,
        }
        try:
            return self._template is not None and _PROBE in self._joined(self._template, values)
        except BadRequest:
            return False

    def _joined(self, template: Template, values: dict[str, Any]) -> str:
        parts, size = [], 0
        try:
            for part in template.generate(values):
                parts.append(part)
                size += len(part)
                if size > MAX_CHARACTERS:
                    raise BadRequest("The chat template writes without end.", path="$.messages")
            text = "".join(parts)
            text.encode()  # a template can write half a character, which is no prompt
            return text
        except _FAILURES as exc:
            raise BadRequest(
                f"The model's chat template refuses this chat: {str(exc)[:300]}", path="$.messages"
            ) from exc


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _checked(extra: dict[str, Any], taken: Set[str]) -> dict[str, Any]:
    """What a request adds, if it is no more than may be added."""
    path = "$.chat_template_kwargs"
    for name in extra:
        if name in taken:
            raise BadRequest(f"{name[:80]!r} is not for a request to set.", path=path)
    try:
        size = len(msgspec.json.encode(extra))
    except (RecursionError, ValueError) as exc:
        raise BadRequest(f"These values are not usable: {str(exc)[:300]}.", path=path) from exc
    if size > MAX_EXTRA_BYTES:
        raise BadRequest(f"These values take more than {MAX_EXTRA_BYTES} bytes.", path=path)
    return extra


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def texts_of(message: Message, mark: str) -> list[str]:
    """A message's content as texts, whatever form it came in; `mark` for a picture."""
    if not isinstance(message.content, list):
        return [message.content or ""]
    return [part.text if isinstance(part, TextPart) else mark for part in message.content]


def _as_template_sees(message: Message, content: Any, short_ids: bool) -> dict[str, Any]:
    id_of = _short if short_ids else str
    seen: dict[str, Any] = {
        "role": "system" if message.role == "developer" else message.role,
        "content": content,
    }
    if message.reasoning_content is not None:
        seen["reasoning_content"] = message.reasoning_content
    if message.name is not None:
        seen["name"] = message.name
    if message.tool_call_id is not None:
        seen["tool_call_id"] = id_of(message.tool_call_id)
    if message.tool_calls:
        seen["tool_calls"] = [
            {
                "id": id_of(call.id),
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": _arguments(call.function.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return seen


def _short(call_id: str) -> str:
    """The same id as nine letters and digits; one that is that already stays."""
    if len(call_id) == 9 and call_id.isascii() and call_id.isalnum():
        return call_id
    return hashlib.blake2b(call_id.encode("utf-8", "replace"), digest_size=5).hexdigest()[:9]


def _arguments(text: str) -> Any:
    """Templates want the arguments as an object; what is no JSON stays the text it is, and so does
    JSON that escapes half a character, which no prompt can hold."""
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
