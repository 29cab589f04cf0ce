"""Where foreign templates run: with bounds on time, and on what one operation may make.

A watchdog ends what runs too long between two bytecodes. What is one call in C (`9 ** (9 ** 9)`, or
`'x' | center(400000000)`) it cannot end: that is refused by its arguments, before it begins.
"""

from __future__ import annotations

import ctypes
import functools
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_CHARACTERS = 4_000_000
MAX_INTEGER_BITS = 4_096
MAX_COUNT = 100_000
"""A width, an indent, a number of items: no chat needs more."""
_WIDE = re.compile(r"%[^%a-zA-Z]*(\*|\d{5})|\{[^{}]*\d{5}|\{[^{}]+\{")
"""A format that could write tens of thousands of characters for one value."""


class _Generator(CodeGenerator):
    """Hands `~` to the sandbox, which jinja2's own does not."""

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.joined((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class Sandbox(ImmutableSandboxedEnvironment):
    """jinja2's, with a bound on what a single operator, filter or call may make."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})
    code_generator_class = _Generator

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters = {name: bounded(name, made) for name, made in self.filters.items()}
        self.globals["range"] = bounded("range", range)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if _too_large(operator, left, right):
            raise TemplateError(f"the result of {operator!r} would be too large")
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, made: Any, /, *args: Any, **kwargs: Any) -> Any:
        inner = getattr(made, "__wrapped__", made)  # jinja2 wraps a string's own `format`
        name, owner = getattr(inner, "__name__", ""), getattr(inner, "__self__", None)
        _check(name, (owner, *args), kwargs)
        return super().call(context, made, *args, **kwargs)

    def joined(self, parts: Iterable[object]) -> str:
        """What `~` makes."""
        texts = [str(part) for part in parts]
        if sum(map(len, texts)) > MAX_CHARACTERS:
            raise TemplateError("the result of '~' would be too large")
        return "".join(texts)


def bounded(name: str, made: Callable[..., Any]) -> Callable[..., Any]:
    """`made`, refusing arguments with which it would write or count without end."""

    @functools.wraps(made)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check(name, args, kwargs)
        return made(*args, **kwargs)

    return checked


def _check(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    for value in (*args, *kwargs.values()):
        if isinstance(value, int) and abs(value) > MAX_COUNT and name in _COUNTING:
            raise TemplateError(f"{name} with {value!r:.40} would make too much")
        if isinstance(value, str) and name in _FORMATTING and _WIDE.search(value):
            raise TemplateError(f"{name} with such a width would write too much")
    if name == "replace" and _grows(args):
        raise TemplateError("replace would write too much")


_COUNTING = frozenset(
    {
        "batch", "center", "indent", "ljust", "rjust", "zfill", "expandtabs", "range", "slice",
        "tojson", "wordwrap", "filesizeformat", "round",
    }
)  # fmt: skip
"""What makes as much as a number says."""
_FORMATTING = frozenset({"format", "format_map", "strftime"})


def _grows(args: tuple[Any, ...]) -> bool:
    """`text.replace(old, new)` at its worst: a new one for every character."""
    texts = [a for a in args if isinstance(a, str)]
    return len(texts) >= 3 and (len(texts[0]) + 1) * len(texts[2]) > 16 * MAX_CHARACTERS


def _too_large(operator: str, left: Any, right: Any) -> bool:
    if operator == "%":
        return isinstance(left, str) and _WIDE.search(left) is not None
    if operator == "+":
        sized = isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple)
        return sized and len(left) + len(right) > MAX_CHARACTERS
    if isinstance(left, int) and isinstance(right, int):
        size = left.bit_length()
        return (size * right if operator == "**" else size + right.bit_length()) > MAX_INTEGER_BITS
    items, count = (right, left) if isinstance(left, int) else (left, right)
    if isinstance(count, int) and isinstance(items, str | list | tuple):
        return len(items) * count > MAX_CHARACTERS
    return False


class TooSlow(BaseException):
    """Raised inside a rendering thread from outside; no template can catch it."""


class Watchdog:
    """Raises `TooSlow` in the entering thread when it has not left in time."""

    def __init__(self, limit_s: float) -> None:
        self._lock = threading.Lock()
        self._left = False
        self._thread = threading.get_ident()
        self._timer = threading.Timer(limit_s, self._bite)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._left = True

    def _bite(self) -> None:
        with self._lock:
            if not self._left:
                thread, what = ctypes.c_ulong(self._thread), ctypes.py_object(TooSlow)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, what)
