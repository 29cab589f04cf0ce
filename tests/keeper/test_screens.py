"""The pages on screens of all widths, in a real browser where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rbee.keeper.bench import weights
from tests.keeper.browser import PROGRAM, browser
from tests.system.stack import stack

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(PROGRAM is None, reason="there is no chromium here"),
]
LONG = "Some-Organisation/A-Rather-Long-Model-Name-GGUF/a_rather_long.model_name-Q8_0.gguf"
CUT = """[...document.querySelectorAll("td")].flatMap((td) => [...td.childNodes]).filter((part) => {
  const range = document.createRange();
  range.selectNodeContents(part);
  const word = part.nodeType === 3 && part.data.length < 40 && !/\\s/.test(part.data);
  return word && range.getClientRects().length > 1;
}).map((part) => part.data)"""
"""Pieces of text without a space in them that stand on more than one line; a hash may have to."""
WIDE = """[document.documentElement, ...document.querySelectorAll("section")]
  .filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.id || box.tagName)"""
"""What must be scrolled sideways."""


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Of each role; two workers run, one of a model with a long name."""
    home = tmp_path_factory.mktemp("screens")
    file = home / "models" / LONG
    file.parent.mkdir(parents=True)
    weights.write(file, weights.TINY)
    with stack(home) as made:
        made.client.spawn("bee")
        worker = made.client.spawn(LONG)
        yield {"queen": made.queen, "hive": made.hive, "worker": worker.url}


@pytest.mark.parametrize("role", ["queen", "hive", "worker"])
async def test_nothing_is_wider_than_the_screen_and_no_name_is_cut(
    urls: dict[str, str], role: str
) -> None:
    async with browser() as page:
        for width in (320, 390, 800, 1_280):
            await page.open(urls[role], width)
            await page.until(f"document.body?.textContent.includes('{LONG}')")
            assert await page.tell(WIDE) == [], width
            assert await page.tell(CUT) == [], width
