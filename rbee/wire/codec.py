"""JSON to contract structs and back, with errors that say where the fault is."""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import cache
from itertools import islice
from typing import Any, TypeVar, cast

import msgspec
import msgspec.inspect

from rbee.errors import Invalid, NotJson, RbeeError

T = TypeVar("T")
_encoder = msgspec.json.Encoder()
MAX_ECHO = 300
"""Characters of a fault's text and path: a client's own megabytes are not sent back."""
_DEEP, _LOOKED_AT = 100, 100_000
_STRUCTURE = re.compile(rb'[][{}]|"((?:[^"\\]++|\\.)*+)"')
"""Brackets, and strings, in which brackets are none."""
_FIELD = re.compile(r"(?:unknown|missing required) field `([^`]*)`")


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
        raise _invalid(str(exc), kind) from exc
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


def _invalid(text: str, kind: Any) -> RbeeError:
    """msgspec writes `what - at `$.path``, or `what - at `key` in `$.path``."""
    what, at, where = text.rpartition(" - at ")
    what, path = (what, where.rpartition("`$")[2].rstrip("`")) if at else (text, "")
    if field := _FIELD.search(what):
        path += f".{field[1]}"
    hint = ""
    if what.startswith(("Invalid enum value", "Invalid value")):
        words = sorted(_words(msgspec.inspect.type_info(kind), path.rpartition(".")[2], set()))
        hint = f"it is one of: {', '.join(words)}" if words else ""
    what, path = _short(what), _short(path)
    return Invalid(f"{what} at ${path}.", path=f"${path}", hint=hint)


def _words(kind: Any, field: str, seen: set[Any]) -> set[str]:
    """What a field of that name may say, anywhere in a type: its literals, or a union's tags."""
    found: set[str] = set()
    if isinstance(kind, msgspec.inspect.StructType) and kind.cls not in seen:
        seen.add(kind.cls)
        if kind.tag_field == field:
            found.add(str(kind.tag))
        for part in kind.fields:
            if part.encode_name == field:
                found |= _literals(part.type)
            found |= _words(part.type, field, seen)
    for inner in (*getattr(kind, "types", ()), getattr(kind, "item_type", None)):
        found |= _words(inner, field, seen) if inner is not None else set()
    inner = getattr(kind, "type", None)  # `Annotated`
    return found | (_words(inner, field, seen) if inner is not None else set())


def _literals(kind: Any) -> set[str]:
    if isinstance(kind, msgspec.inspect.LiteralType):
        return {str(value) for value in kind.values}
    return {word for inner in getattr(kind, "types", ()) for word in _literals(inner)}


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
        raise _invalid(str(exc), kind) from exc
