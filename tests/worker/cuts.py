"""Ways to cut a text into pieces: what tokens do to it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from hypothesis import strategies as st

T = TypeVar("T", str, bytes)


def cuts() -> st.SearchStrategy[list[int]]:
    """Where to cut; positions past the end cut nothing."""
    return st.lists(st.integers(0, 90), max_size=30)


def cut(whole: T, at: Sequence[int]) -> list[T]:
    edges = [0, *sorted(p for p in at if p <= len(whole)), len(whole)]
    return [whole[a:b] for a, b in pairwise(edges)]
