"""Names of models: which are names at all, and which entry each of them means."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.fleet import ModelEntry
from rbee.errors import BadRequest, ModelAmbiguous, ModelNotFound
from rbee.naming import (
    MAX_LENGTH,
    PREFERRED,
    Reference,
    matches,
    parse,
    resolve,
    unknown,
    unusable,
)

NAMES = {
    "bee": Reference("bee"),
    "tiny.gguf": Reference("tiny.gguf", file="tiny.gguf"),
    "sub/tiny.GGUF": Reference("sub/tiny.GGUF", file="sub/tiny.GGUF"),
    "org/repo": Reference("org/repo", repo="org/repo"),
    "org/repo-GGUF": Reference("org/repo-GGUF", repo="org/repo-GGUF"),
    "org/repo:Q4_K_M": Reference("org/repo:Q4_K_M", repo="org/repo", quant="Q4_K_M"),
    "o/r/f.gguf": Reference("o/r/f.gguf", repo="o/r", file="o/r/f.gguf"),
    "o/r/a/b/f.gguf": Reference("o/r/a/b/f.gguf", repo="o/r", file="o/r/a/b/f.gguf"),
    "Qwen2.5+x_1": Reference("Qwen2.5+x_1"),
}

HOSTILE = [
    "https://example.org/org/repo",
    "",
    ".",
    "..",
    "../bee",
    "org/..",
    "org/../../etc/passwd.gguf",
    "a..b/c",
    "/etc/passwd",
    "/etc/passwd.gguf",
    "//x/y.gguf",
    "org//f.gguf",
    "org/repo/",
    "org/repo/file.bin",
    "C:\\windows\\x.gguf",
    "C:/windows/x.gguf",
    "org\\repo",
    "bee\0",
    "org/re\0po",
    "bee\n",
    "org/repo:Q4\n",
    " bee",
    "bee ",
    "~/x.gguf",
    ".hidden.gguf",
    "-rf",
    "--model/x",
    "bee:Q4_K_M",
    "org/repo/f.gguf:Q4_K_M",
    "org/repo:",
    "org/repo:Q4:Q5",
    "org/repo:../x",
    "org/repo:" + "Q" * 33,
    "http://evil.com/x.gguf",
    "bée",
    "\u202ebee",
    "org/\uff0e\uff0e/x.gguf",
    "%2e%2e/x",
    "$(reboot)",
    "\ud800",
    "x" * 10_000,
    "a/" * 5_000 + "f.gguf",
]


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert parse(name) == NAMES[name]
    assert parse(name).downloadable == bool(NAMES[name].repo)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda n: ascii(n[:24]))
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(name)
    assert caught.value.path == "$.model"
    assert len(caught.value.message) < 600
    assert caught.value.message.isprintable()


@given(st.text(max_size=60) | st.from_regex(r"[a-z./:\\\0~-]{1,30}", fullmatch=True))
def test_an_accepted_name_never_leaves_its_folder(name: str) -> None:
    try:
        reference = parse(name)
    except BadRequest:
        return
    path = PurePosixPath(reference.file or reference.name.partition(":")[0])
    assert not path.is_absolute()
    assert not {"..", ".", ""} & set(path.parts)
    assert not set("\\\0\n") & set(name)
    assert len(name) <= MAX_LENGTH


PARTS = st.sampled_from(["a", "b", "org", "repo", "x-1"])
QUANTS = st.sampled_from([*PREFERRED, "IQ2_XS", "Q3_K_S", ""])
IDS = st.lists(PARTS, max_size=3).map(lambda p: "/".join([*p, "f.gguf"])) | st.just("bee")


@st.composite
def entry_lists(draw: st.DrawFn) -> list[ModelEntry]:
    ids = draw(st.lists(IDS, unique=True, max_size=6))
    return [ModelEntry(id=i, file=i, size=1, quantisation=draw(QUANTS)) for i in ids]


@given(entry_lists())
def test_every_entrys_own_id_means_it(entries: list[ModelEntry]) -> None:
    for entry in entries:
        assert resolve(entry.id, entries) is entry


REFERENCES = st.builds(
    lambda org, repo, quant: f"{org}/{repo}" + (f":{quant}" if quant else ""),
    PARTS,
    PARTS,
    QUANTS,
)


@given(REFERENCES, entry_lists())
def test_resolving_finds_what_fits_or_says_why_not(name: str, entries: list[ModelEntry]) -> None:
    fitting = [e for e in entries if matches(parse(name), e)]
    try:
        found = resolve(name, entries)
    except ModelNotFound as exc:
        assert not fitting
        assert all(e.id in exc.message for e in entries)
    except ModelAmbiguous as exc:
        assert len(fitting) > 1
        assert all(e.id in exc.message for e in fitting)
    else:
        assert found in fitting


@given(REFERENCES, entry_lists())
def test_the_order_of_entries_does_not_matter(name: str, entries: list[ModelEntry]) -> None:
    assert outcome(name, entries) == outcome(name, entries[::-1])


def outcome(name: str, entries: list[ModelEntry]) -> str:
    try:
        return resolve(name, entries).id
    except (ModelNotFound, ModelAmbiguous) as exc:
        return exc.message


def test_a_good_size_is_preferred() -> None:
    made = {q: ModelEntry(id=f"o/r/{q}.gguf", file="", size=1, quantisation=q) for q in PREFERRED}
    for quant in PREFERRED:
        assert resolve("o/r", list(made.values())).quantisation == quant
        assert resolve(f"o/r:{quant.lower()}", list(made.values())).quantisation == quant
        del made[quant]
        made["IQ1_S"] = ModelEntry(id="o/r/IQ1_S.gguf", file="", size=1, quantisation="IQ1_S")
        if len(made) == 1:
            break


def test_a_quantisation_nobody_has_is_not_replaced_by_another() -> None:
    entry = ModelEntry(id="o/r/f.gguf", file="", size=1, quantisation="Q8_0")
    with pytest.raises(ModelNotFound):
        resolve("o/r:Q4_K_M", [entry])


def test_a_repository_is_not_the_beginning_of_anothers_name() -> None:
    entry = ModelEntry(id="o/repo2/f.gguf", file="", size=1)
    with pytest.raises(ModelNotFound):
        resolve("o/repo", [entry])


def test_many_known_names_are_cut_in_the_message() -> None:
    exc = unknown("x" * 10_000, (f"m{i:04}" for i in range(5_000)))
    assert len(exc.message) < 400
    assert "4988 more" in exc.message


def test_a_file_may_be_named_without_its_suffix() -> None:
    entry = ModelEntry(id="mine.gguf", file="/m/mine.gguf", size=1)
    assert resolve("mine", [entry]) is entry


def test_a_broken_file_is_found_by_its_own_name_only() -> None:
    broken = ModelEntry(id="org/repo/a-Q8_0.gguf", file="", size=1, quantisation="", problem="cut")
    sound = ModelEntry(id="org/repo/b-Q8_0.gguf", file="", size=1, quantisation="Q8_0")
    assert resolve("org/repo", [broken, sound]) is sound
    assert resolve("org/repo/a-Q8_0.gguf", [broken, sound]) is broken
    assert "cut" in unusable(broken).message
