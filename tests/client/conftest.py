"""The clients' real fleet is the keeper's."""

from __future__ import annotations

from tests.keeper.conftest import fleet

__all__ = ["fleet"]
