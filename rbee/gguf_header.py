"""What a GGUF file says of itself, read in Python with strict bounds, before llama.cpp sees it.

1. Every length and count is checked against the bytes that are there, and against a ceiling: any
   bytes at all give a `GgufHeader` or a `BadModelFile`, soon.
2. Only the head is read, never a tensor. Where the last tensor would end is computed from the
   tensor table, so that a truncated file is found without loading it.
3. The head is read, not mapped: a file that shrinks while it is mapped kills the process.

It knows no tokenizer and judges no architecture; llama.cpp has the last word on both.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rbee.errors import BadModelFile
from rbee.gguf_tables import FILE_TYPES, TENSOR_SIZES

HEAD_BYTES = (16 * 2**20, 64 * 2**20, 256 * 2**20)
"""How much is read at first, and again where the head is larger (long vocabularies)."""
MAX_KEYS = 65_536
MAX_TENSORS = 200_000
MAX_STRINGS = 4_000_000
"""Elements of all arrays of strings together."""
MAX_TEXT = 4 * 2**20
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd", strict=True))
_STRING, _ARRAY = 8, 9
_CLASSIFIER = {"cls.weight", "cls.output.weight"}
_U64 = struct.Struct("<Q")


@dataclass(frozen=True)
class GgufHeader:
    """The part of a header that rbee asks about; empty or 0 where the file does not say."""

    version: int
    architecture: str
    kind: str = "model"
    """`general.type`: `model`, `adapter`, `mmproj`, `imatrix`, ..."""
    name: str = ""
    context: int = 0
    quantisation: str = ""
    parameters: int = 0
    chat_template: bool = False
    tokenizer: str = ""
    classifier: bool = False
    """Whether it has the tensors from which a ranker's scores come."""
    split_count: int = 0
    split_no: int = 0


class _Short(Exception):
    """Raised when the head that was read ends before the header does."""


def read(path: Path) -> GgufHeader:
    """The header of a file. Raises `BadModelFile` saying what is wrong with it."""
    try:
        size = path.stat().st_size
        for limit in HEAD_BYTES:
            with path.open("rb") as file:
                head = file.read(limit)
            try:
                return _read_head(head, size)
            except _Short:
                if len(head) >= size:
                    raise _bad("it is truncated: its header does not end") from None
    except OSError as exc:
        raise _bad(f"it cannot be read: {exc.strerror}") from exc
    raise _bad(f"its header is larger than {HEAD_BYTES[-1]} bytes")


def parse(data: bytes, size: int | None = None) -> GgufHeader:
    """As `read`, for bytes at hand; `size` is the whole file's when `data` is only its head."""
    try:
        return _read_head(data, len(data) if size is None else size)
    except _Short:
        raise _bad("it is truncated: its header does not end") from None


def _bad(why: str) -> BadModelFile:
    return BadModelFile(
        f"This is no GGUF file that can be loaded: {why}.", hint="fetch the file again"
    )


def _read_head(data: bytes, size: int) -> GgufHeader:
    cursor = _Cursor(data, size)
    if cursor.take(4) != b"GGUF":
        raise _bad(f"it begins with {data[:4]!r} instead of b'GGUF'")
    version = cursor.scalar("I")
    if version not in (2, 3):
        raise _bad(f"its format version is {version}; 2 and 3 are known")
    tensors, keys = cursor.scalar("Q"), cursor.scalar("Q")
    if tensors > MAX_TENSORS or keys > MAX_KEYS:
        raise _bad(f"it declares {tensors} tensors and {keys} keys")
    values = dict(_pair(cursor) for _ in range(keys))
    parameters, names = _check_tensors(cursor, tensors, values)
    return _header(version, values, parameters, names)


def _pair(cursor: _Cursor) -> tuple[str, Any]:
    key = cursor.text(65_535)
    kind = cursor.scalar("I")
    if kind == _ARRAY:
        cursor.skip_array()
        return key, None
    return key, cursor.value(kind)


def _header(version: int, values: dict[str, Any], parameters: int, tensors: set[str]) -> GgufHeader:
    architecture = _text(values, "general.architecture")
    if not architecture:
        raise _bad("it names no architecture")
    return GgufHeader(
        version=version,
        architecture=architecture,
        kind="mmproj" if architecture == "clip" else _text(values, "general.type") or "model",
        name=_text(values, "general.name"),
        context=_number(values, f"{architecture}.context_length"),
        quantisation=FILE_TYPES.get(_number(values, "general.file_type", -1), ""),
        parameters=parameters,
        chat_template=bool(_text(values, "tokenizer.chat_template")),
        tokenizer=_text(values, "tokenizer.ggml.model"),
        classifier=not tensors.isdisjoint(_CLASSIFIER),
        split_count=_number(values, "split.count"),
        split_no=_number(values, "split.no"),
    )


def _text(values: dict[str, Any], key: str) -> str:
    found = values.get(key, "")
    return found if isinstance(found, str) else ""


def _number(values: dict[str, Any], key: str, missing: int = 0) -> int:
    """A count; what is no integer, or no sensible one, counts as missing."""
    found = values.get(key, missing)
    return found if isinstance(found, int) and 0 <= found < 2**31 else missing


def _check_tensors(cursor: _Cursor, count: int, values: dict[str, Any]) -> tuple[int, set[str]]:
    """Walk the tensor table; raises when a tensor would end past the file. How many parameters
    there are, and the tensors' names."""
    parameters = end = 0
    names = set()
    for _ in range(count):
        names.add(cursor.text(65_535))
        dimensions = cursor.scalar("I")
        if dimensions > 4:
            raise _bad(f"a tensor has {dimensions} dimensions")
        shape = [cursor.scalar("Q") for _ in range(dimensions)]
        kind, offset = cursor.scalar("I"), cursor.scalar("Q")
        elements = math.prod(shape)
        parameters += elements
        end = max(end, offset + _tensor_bytes(kind, elements))
    alignment = _number(values, "general.alignment", 32) or 32
    start = -(-cursor.at // alignment) * alignment
    if count and start + end > cursor.size:
        raise _bad(f"it is truncated: {start + end} bytes are needed, {cursor.size} are there")
    return parameters, names


def _tensor_bytes(kind: int, elements: int) -> int:
    """A lower bound where the type is newer than the table."""
    block, size = TENSOR_SIZES.get(kind, (1, 0))
    return elements // block * size


@dataclass
class _Cursor:
    """Where we are in the head. Nothing is read past its end."""

    data: bytes
    size: int
    at: int = 0
    strings_left: int = field(default=MAX_STRINGS)

    def take(self, count: int) -> bytes:
        self._need(count)
        self.at += count
        return self.data[self.at - count : self.at]

    def _need(self, count: int) -> None:
        """`count` bytes must follow: in what was read, or at least in the file."""
        if self.at + count > self.size:
            raise _bad(f"it is truncated: {self.at + count} bytes are needed, {self.size} there")
        if self.at + count > len(self.data):
            raise _Short

    def scalar(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def text(self, limit: int) -> str:
        length = self.scalar("Q")
        if length > limit:
            raise _bad(f"it holds a text of {length} bytes where {limit} are the most")
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text(MAX_TEXT)
        if kind not in _SCALARS:
            raise _bad(f"it holds a value of the unknown type {kind}")
        found = self.scalar(_SCALARS[kind])
        return bool(found) if kind == 7 else found

    def skip_array(self) -> None:
        """Arrays (vocabularies, merges, scores) are walked over, not kept."""
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind == _STRING:
            self._skip_strings(count)
        elif kind in _SCALARS:
            length = struct.calcsize("<" + _SCALARS[kind]) * count
            self._need(length)
            self.at += length
        else:
            raise _bad(f"it holds an array of the type {kind}")

    def _skip_strings(self, count: int) -> None:
        self.strings_left -= count
        if self.strings_left < 0:
            raise _bad(f"it holds more than {MAX_STRINGS} texts")
        self._need(8 * count)
        at, data, unpack = self.at, self.data, _U64.unpack_from
        try:
            for _ in range(count):
                at += 8 + unpack(data, at)[0]
        except struct.error:
            self.at = min(at, self.size)  # past what was read; past the file if it was all of it
            self._need(8)
            raise _Short from None
        self.at = at
        self._need(0)
