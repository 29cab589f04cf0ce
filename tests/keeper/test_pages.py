"""The web pages: whole, served, from nowhere else, and never markup out of an answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rbee.ui
from tests.http import ask
from tests.keeper.command import Rbee

UI = Path(str(rbee.ui.__file__)).parent
PARTS = re.compile(r"""(?:href|src|from)[= ]"(/ui/[^"]+)\"""")
DANGEROUS = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|https?://")


@pytest.mark.parametrize("role", ["queen", "hive"])
def test_a_page_and_all_its_parts_are_served(fleet: Rbee, role: str) -> None:
    url = fleet.queen if role == "queen" else fleet.hive
    page = ask("GET", f"{url}/")
    assert f"rbee {role}" in page.body.decode()
    assert "default-src 'self'" in page.headers["content-security-policy"]
    todo, seen = [page.body.decode()], set()
    while todo:
        for path in PARTS.findall(todo.pop()):
            if path not in seen:
                seen.add(path)
                part = ask("GET", url + path)
                assert part.status == 200
                todo.append(part.body.decode())
    assert {"/ui/style.css", "/ui/common.js", f"/ui/{role}.js"} <= seen


@pytest.mark.parametrize("file", sorted(UI.glob("*.*s")), ids=lambda f: f.name)
def test_scripts_and_styles_are_harmless(file: Path) -> None:
    assert not DANGEROUS.search(file.read_text("utf-8"))


@pytest.mark.parametrize("file", sorted(UI.glob("*.html")), ids=lambda f: f.name)
def test_pages_have_no_inline_scripts_and_every_id_their_script_asks_for(file: Path) -> None:
    page = file.read_text("utf-8")
    assert not re.search(r"<script(?! type=\"module\" src=)|\son\w+=|javascript:|https?://", page)
    ids = set(re.findall(r'id="(\w+)"', page))
    names = {f"{file.stem}.js", "common.js"} | ({"chat.js"} if "ask" in ids else set())
    code = "".join((UI / name).read_text("utf-8") for name in names)
    assert set(re.findall(r'\bat\("(\w+)"\)', code)) <= ids


def test_a_path_out_of_the_folder_is_a_404(fleet: Rbee) -> None:
    for name in ("..%2f__init__.py", "__init__.py", "nope.css", "%2e%2e/main.py"):
        assert ask("GET", f"{fleet.queen}/ui/{name}").status == 404
