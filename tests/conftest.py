"""What all tests share."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("rbee", deadline=None)  # time is the machine's; pytest has the limits
settings.load_profile("rbee")


@pytest.fixture
def anyio_backend() -> str:
    """Tests marked `anyio` run on asyncio, as rbee does."""
    return "asyncio"
