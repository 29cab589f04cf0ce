"""One stack for the tests that leave it as they found it; the others start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.stack import Stack, stack


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(tmp_path_factory.mktemp("shared")) as made:
        yield made
