"""Where an install is, read off lines that pip and ninja have printed."""

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

RECORDED = """\
Using pip 23.2.1 from /x/site-packages/pip (python 3.11)
Obtaining file:///x
  Installing build dependencies: started
  Collecting setuptools>=77
  Installing collected packages: setuptools
  Installing build dependencies: finished with status 'done'
Collecting llama-cpp-python==0.3.36 (from rbee==0.1.0)
Building wheels for collected packages: rbee, llama-cpp-python
  Building editable for rbee (pyproject.toml): started
  Running command Building editable for rbee (pyproject.toml)
  Building wheel for llama-cpp-python (pyproject.toml): started
  Running command Building wheel for llama-cpp-python (pyproject.toml)
  *** scikit-build-core 0.11 using CMake 3.30 (wheel)
  [1/310] /usr/bin/c++ -DGGML_USE_CPU -c ggml.cpp
  [105/310] Building CXX object vendor/llama.cpp/ggml/src/ggml.cpp.o
Installing collected packages: llama-cpp-python, rbee
"""


def test_the_stages_of_an_install(launcher: ModuleType) -> None:
    progress = launcher.Progress("starting pip")
    seen = [str(progress)]
    for line in RECORDED.splitlines():
        progress.read(line)
        if str(progress) != seen[-1]:
            seen.append(str(progress))
    assert seen == [
        "starting pip",
        "fetching packages",
        "building packages",
        "compiling llama.cpp",
        "compiling llama.cpp, 1 of 310 (0%)",
        "compiling llama.cpp, 105 of 310 (33%)",
        "installing packages",
    ]


@pytest.mark.parametrize("line", ["[3/9] Building", "[ 33%] Building", "[0/0] Re-checking"])
def test_steps_count_only_while_compiling(launcher: ModuleType, line: str) -> None:
    progress = launcher.Progress("fetching packages")
    progress.read(line)
    assert str(progress) == "fetching packages"


@given(lines=st.lists(st.text() | st.from_regex(r" *\[\d{1,3}/\d{1,3}\] .*")))
def test_no_line_upsets_it(launcher: ModuleType, lines: list[str]) -> None:
    progress = launcher.Progress(launcher.COMPILING)
    for line in lines:
        progress.read(line)
    assert str(progress)
