"""JSON to contract structs and back, with errors that say where the fault is."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import cache
from itertools import islice
from typing import Any, TypeVar, cast

import msgspec

from rbee.errors import Invalid, NotJson, RbeeError
from rbee.wire import hints

T = TypeVar("T")
_encoder = msgspec.json.Encoder()
MAX_ECHO = 300
"""Characters of a fault's text and path: a client's own megabytes are not sent back."""
_DEEP, _LOOKED_AT = 100, 100_000
_STRUCTURE = re.compile(rb'[][{}]|"((?:[^"\\]++|\\.)*+)"')
"""Brackets, and strings, in which brackets are none."""
_FIELD = re.compile(r"(unknown|missing required) field `([^`]*)`")


def encode(value: Any) -> bytes:
    """`value` as JSON. Raises `Invalid` for what is nested too deeply, which a body may be: reading
    goes a little deeper than writing."""
    try:
        return _encoder.encode(value)
    except RecursionError as exc:
        raise Invalid("A part of the request is nested too deeply.", path="$") from exc


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def decode(body: bytes, kind: type[T] | Any) -> T:
    """Read `body` as `kind`; raises `NotJson` (400) or `Invalid` (422, with the JSON path)."""
    try:
        value: T = _decoder(cast(Hashable, kind)).decode(body)
        return value
    except msgspec.ValidationError as exc:
        raise _invalid(str(exc), kind, _tag(body, kind)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise NotJson(f"The body is not JSON: {exc}.") from exc
    except RecursionError as exc:
        field = _deep_field(body)
        raise NotJson(
            f"{_short(field) or 'The body'} is nested too deeply.",
            path=f"$.{_short(field)}" if field else "",
        ) from exc


def _deep_field(body: bytes) -> str:
    """The outermost field that is nested deeper than `_DEEP`; empty where it is not found soon."""
    depth, field = 0, b""
    for found in islice(_STRUCTURE.finditer(body), _LOOKED_AT):
        match found[0][:1]:
            case b"{" | b"[":
                depth += 1
                if depth > _DEEP:
                    return field.decode("utf-8", "replace")
            case b"}" | b"]":
                depth -= 1
            case _ if depth == 1:
                field = found[1]
    return ""


def _tag(body: bytes, kind: Any) -> str:
    """What the body says it is; empty where it does not, or where it breaks off later."""
    name = hints.tag_field(kind)
    try:
        given = msgspec.json.decode(body, type=dict[str, msgspec.Raw]) if name else {}
        return msgspec.json.decode(given[name], type=str) if name in given else ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def _invalid(text: str, kind: Any, tag: str) -> RbeeError:
    """msgspec writes `what - at `$.path``, or `what - at `key` in `$.path``."""
    what, at, where = text.rpartition(" - at ")
    what, path = (what, where.rpartition("`$")[2].rstrip("`")) if at else (text, "")
    hint = ""
    if field := _FIELD.search(what):
        hint = hints.meant(kind, path, field[2], tag) if field[1] == "unknown" else ""
        path += f".{field[2]}"
    elif what.startswith(("Invalid enum value", "Invalid value")):
        hint = hints.allowed(kind, path, tag)
    what, path = _short(what), _short(path)
    return Invalid(f"{what} at ${path}.", path=f"${path}", hint=hint)


def _short(text: str) -> str:
    return text if len(text) <= MAX_ECHO else text[:MAX_ECHO] + "..."


def plain(value: Any) -> dict[str, Any]:
    """A struct as JSON-ready builtins."""
    built: dict[str, Any] = msgspec.to_builtins(value)
    return built


def convert(value: Any, kind: type[T] | Any) -> T:
    """Builtins as a struct; raises `Invalid` with the path."""
    try:
        found: T = msgspec.convert(value, kind)
        return found
    except msgspec.ValidationError as exc:
        name = hints.tag_field(kind)
        tag = value.get(name, "") if isinstance(value, dict) else ""
        raise _invalid(str(exc), kind, tag if isinstance(tag, str) else "") from exc
