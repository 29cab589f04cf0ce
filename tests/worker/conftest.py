"""One real worker on the embedded model, for every test that leaves it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.processes import Started
from tests.worker.bees import serving


@pytest.fixture(scope="session")
def bee_worker() -> Iterator[Started]:
    with serving(slots=4) as process:
        yield process
