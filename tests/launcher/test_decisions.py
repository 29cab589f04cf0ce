"""What the launcher decides, asked without a process."""

import ast
import itertools
from collections.abc import Callable
from types import ModuleType

import pytest

from tests.launcher.miniature import LAUNCHER

Which = Callable[[str], str | None]


def which(*paths: str) -> Which:
    """A PATH on which just these are found, by their name or in full."""
    names = {path.rpartition("/")[2]: path for path in paths}
    return lambda asked: asked if asked in paths else names.get(asked)


@pytest.mark.parametrize(
    ("cmake_args", "platform", "nvcc", "driver", "name", "said"),
    [
        ("-DGGML_VULKAN=on", "linux", "/bin/nvcc", True, "CMAKE_ARGS=-DGGML_VULKAN=on", "is set"),
        ("-DGGML_CUDA=on", "linux", "/bin/nvcc", False, "CMAKE_ARGS=-DGGML_CUDA=on", "is set"),
        ("", "linux", "/bin/nvcc", True, "cuda", "with CUDA"),
        ("", "linux", "/bin/nvcc", False, "cpu", "no NVIDIA driver"),
        ("", "linux", "", True, "cpu", "NVIDIA driver found, but no nvcc"),
        ("", "linux", "", False, "cpu", "no nvcc found"),
        ("", "darwin", "", False, "metal", "Metal"),
        ("", "win32", "C:/nvcc.exe", True, "cuda", "with CUDA"),
    ],
)
def test_the_choice_of_the_accelerator(
    launcher: ModuleType,
    cmake_args: str,
    platform: str,
    nvcc: str,
    driver: bool,
    name: str,
    said: str,
) -> None:
    choice = launcher.choose(cmake_args, platform, nvcc, driver)
    assert choice.name == name
    assert said in choice.said
    assert "\n" not in choice.said


MACHINES = list(
    itertools.product(("", "-DX=1"), ("linux", "darwin", "win32"), ("", "/n/nvcc"), (False, True))
)


@pytest.mark.parametrize("machine", MACHINES)
def test_only_the_default_build_may_come_from_pips_cache(
    launcher: ModuleType, machine: tuple[str, str, str, bool]
) -> None:
    choice = launcher.choose(*machine)
    made = launcher.build_environment({"PATH": "/bin"}, choice, machine[2])
    assert choice.own == ("CMAKE_ARGS" in made)


def test_cuda_without_a_driver_is_never_chosen(launcher: ModuleType) -> None:
    assert "CUDA=on overrides" in launcher.choose("", "linux", "/n/nvcc", False).said
    assert not launcher.choose("", "linux", "/n/nvcc", False).cmake_args


@pytest.mark.parametrize(
    ("environ", "there", "found"),
    [
        ({}, "/usr/bin/nvcc", "/usr/bin/nvcc"),
        ({}, "/usr/local/cuda/bin/nvcc", "/usr/local/cuda/bin/nvcc"),
        ({"CUDA_HOME": "/opt/cuda"}, "/opt/cuda/bin/nvcc", "/opt/cuda/bin/nvcc"),
        ({"CUDACXX": "/odd/nvcc-12"}, "/odd/nvcc-12", "/odd/nvcc-12"),
        ({"CUDACXX": "/gone/nvcc"}, "/opt/other", ""),
    ],
)
def test_where_nvcc_is_looked_for(
    launcher: ModuleType, environ: dict[str, str], there: str, found: str
) -> None:
    assert launcher.find_nvcc(environ, which(there), "linux") == found


def test_what_pip_runs_under(launcher: ModuleType) -> None:
    choice = launcher.choose("", "linux", "/opt/cuda/bin/nvcc", True)
    user = {"PATH": "/bin", "PIP_INDEX_URL": "file:///mirror", "PIP_USER": "1"}
    made = launcher.build_environment(user, choice, "/opt/cuda/bin/nvcc")
    assert made["CUDACXX"] == "/opt/cuda/bin/nvcc"
    assert made["PATH"].split(launcher.os.pathsep) == ["/bin", "/opt/cuda/bin"]
    assert made["PIP_INDEX_URL"] == "file:///mirror"
    assert made["PIP_USER"] == "0"
    assert user == {"PATH": "/bin", "PIP_INDEX_URL": "file:///mirror", "PIP_USER": "1"}


def test_compilers(launcher: ModuleType) -> None:
    assert launcher.find_compiler({}, which("/usr/bin/clang++")) == "/usr/bin/clang++"
    assert launcher.find_compiler({"CXX": "ccache g++-13"}, which("/b/ccache")) == "/b/ccache"
    assert launcher.find_compiler({"CXX": "gone"}, which("/usr/bin/gcc")) == ""


@pytest.mark.parametrize(
    ("platform", "manager", "hint"),
    [
        ("linux", "/usr/bin/apt-get", "apt install g++"),
        ("linux", "/usr/bin/dnf", "dnf install gcc-c++"),
        ("linux", "/usr/bin/nothing", "CXX"),
        ("darwin", "/opt/brew", "xcode-select --install"),
        ("win32", "C:/nothing", "Visual Studio"),
    ],
)
def test_the_hint_for_a_missing_compiler(
    launcher: ModuleType, platform: str, manager: str, hint: str
) -> None:
    assert hint in launcher.compiler_hint(platform, which(manager))


def test_an_old_python_is_named_and_a_newer_one_with_it(launcher: ModuleType) -> None:
    fault = launcher.python_fault((3, 9, 6), "python3.13")
    assert fault.message == "rbee needs Python 3.11 or newer; this is 3.9.6"
    assert fault.hint == "python3.13 rbee.py ..."
    assert launcher.python_fault((3, 9, 6), "").hint
    assert launcher.python_fault((3, 11, 0), "") is None
    assert launcher.python_fault((4, 0, 0), "") is None


def test_the_launcher_parses_on_an_old_python() -> None:
    ast.parse(LAUNCHER.read_text(), feature_version=(3, 6))


def test_the_pin_is_found_in_the_real_project(launcher: ModuleType) -> None:
    project = (LAUNCHER.parent / "pyproject.toml").read_text()
    pin = launcher.engine_pin(project)
    assert f"llama-cpp-python=={pin}" in project
    assert launcher.engine_pin(ascii(project)) == pin
    assert launcher.engine_pin('dependencies = ["numpy>=2"]') == ""


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("fatal error: error writing to /tmp/x.s: No space left on device", "disk is full"),
        ("connection broken by 'NewConnectionError(...)'\nNo matching distribution", "reached"),
        ("socket.gaierror: Temporary failure in name resolution", "could not be reached"),
        ("ERROR: No matching distribution found for msgspec>=0.20", "no such version"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "PIP_CERT"),
        ("No CMAKE_CXX_COMPILER could be found.", "compiler is missing"),
        ("c++: fatal error: Killed signal terminated program cc1plus", "PARALLEL_LEVEL=1"),
        ("nvcc fatal   : Unsupported gpu architecture 'compute_native'", "-DGGML_CUDA=off"),
        ("error: [Errno 13] Permission denied: 'rbee.egg-info'", "writable"),
        ("something nobody has seen", "next start tries again"),
    ],
)
def test_hints(launcher: ModuleType, text: str, hint: str) -> None:
    assert hint in launcher.hint_for(text, "sudo apt install g++")


def test_the_tail_shows_the_fault_and_not_pips_words_about_it(launcher: ModuleType) -> None:
    log = [
        *(f"[{step}/99] c++ -c file{step}.cpp" for step in range(1, 40)),
        "file40.cpp:7: error: 'frobnicate' was not declared" + "!" * 500,
        "",
        "  ninja: build stopped: subcommand failed.",
        "  error: subprocess-exited-with-error",
        "  \u00d7 Building wheel did not run successfully.",
        "  \u2502 exit code: 1",
        "  \u2570\u2500> See above for output.",
        "  note: This error originates from a subprocess, and is likely not a problem with pip.",
        "  full command: /x/python",
        "  Building wheel for x (pyproject.toml): finished with status 'error'",
        "ERROR: Failed building wheel for x",
    ]
    tail = launcher.relevant(log)
    assert len(tail) == launcher.TAIL_LINES
    assert [line.split()[0] for line in tail[-3:]] == ["file40.cpp:7:", "ninja:", "ERROR:"]
    assert max(map(len, tail)) == 160


def test_amx_is_left_out_where_cpu_and_compiler_know_it(launcher: ModuleType) -> None:
    cpu = "flags : fpu avx512f amx_bf16 amx_tile amx_int8"
    made = launcher.without_amx({"CXXFLAGS": "-O2"}, cpu, True)
    assert made == {"CFLAGS": launcher.AMX_OFF, "CXXFLAGS": "-O2 " + launcher.AMX_OFF}
    assert launcher.without_amx({}, cpu, False) == {}
    assert launcher.without_amx({}, "flags : fpu avx2", True) == {}
