"""A project small enough to install in a second, for the launcher to install with the real pip.

Its build backend lies in the tree, so pip needs no network; what the backend shall do instead of
building (fail, stand still) is told by files in the project's folder. Beside it lies the source
of a stand-in for llama-cpp-python, whose wheel remembers with which CMAKE_ARGS it was built.
Knows nothing of how the launcher decides.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parents[2] / "rbee.py"
DEADLINE_S = 60
ENGINE_VERSION = "0.0.7"

BACKEND = """
import base64, hashlib, os, pathlib, time, zipfile

HERE = pathlib.Path(__file__).parent
METADATA = (
    "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n"
    "Provides-Extra: test\\n{requires}"
)


def obey():
    with open(HERE / "builds", "a") as file:
        file.write("built\\n")
    if (HERE / "fail").exists():
        print("widget.cpp:7: error: 'frobnicate' was not declared", flush=True)
        raise SystemExit(1)
    if (HERE / "block").exists():
        (HERE / "blocked").touch()
        deadline = time.monotonic() + 60
        while (HERE / "block").exists() and time.monotonic() < deadline:
            time.sleep(0.01)


def wheel(folder, name, version, files, requires=""):
    info = f"{name}-{version}.dist-info"
    files = dict(files)
    files[f"{info}/METADATA"] = METADATA.format(name=name, version=version, requires=requires)
    files[f"{info}/WHEEL"] = (
        "Wheel-Version: 1.0\\nGenerator: backend\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    )
    record = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode()
        record.append(f"{path},sha256={digest.rstrip('=')},{len(text.encode())}\\n")
    files[f"{info}/RECORD"] = "".join(record) + f"{info}/RECORD,,\\n"
    with zipfile.ZipFile(pathlib.Path(folder) / f"{name}-{version}-py3-none-any.whl", "w") as out:
        for path, text in files.items():
            out.writestr(path, text)
    return f"{name}-{version}-py3-none-any.whl"


def build_editable(folder, config_settings=None, metadata_directory=None):
    obey()
    requires = (HERE / "requires").read_text()
    return wheel(folder, "rbee", "0.1", {"rbee_editable.pth": f"{HERE}\\n"}, requires)


def prepare_metadata_for_build_editable(folder, config_settings=None):
    info = pathlib.Path(folder) / "rbee-0.1.dist-info"
    info.mkdir()
    requires = (HERE / "requires").read_text()
    (info / "METADATA").write_text(METADATA.format(name="rbee", version="0.1", requires=requires))
    return info.name


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = pathlib.Path(folder) / "llama_cpp_python-@VERSION@.dist-info"
    info.mkdir()
    text = METADATA.format(name="llama-cpp-python", version="@VERSION@", requires="")
    (info / "METADATA").write_text(text)
    return info.name


def build_wheel(folder, config_settings=None, metadata_directory=None):
    options = os.environ.get("CMAKE_ARGS", "")
    for step in range(1, 5):
        print(f"[{step}/4] Building CXX object ggml-{step}.o", flush=True)
    text = f"BUILT_WITH = {options!r}\\n"
    if "BROKEN" in options:
        text += "raise OSError('libcuda.so.1: cannot open shared object file')\\n"
    return wheel(folder, "llama_cpp_python", "@VERSION@", {"llama_cpp/__init__.py": text})
""".replace("@VERSION@", ENGINE_VERSION)

BUILD_SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'

SAY_BACK = """
import os, sys
print(__file__, sys.argv[1:], os.getcwd())
sys.exit(int(os.environ.get("EXIT", "0")))
"""


def wait_for(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not fact():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.01)


def engine_source(folder: Path) -> None:
    """Puts the stand-in's sdist where PIP_FIND_LINKS looks."""
    folder.mkdir(exist_ok=True)
    root = f"llama_cpp_python-{ENGINE_VERSION}"
    files = {
        "pyproject.toml": BUILD_SYSTEM,
        "backend.py": BACKEND,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: {ENGINE_VERSION}\n",
    }
    with tarfile.open(folder / f"{root}.tar.gz", "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))


@dataclass(frozen=True)
class Miniature:
    root: Path
    environ: Mapping[str, str]

    @property
    def log(self) -> Path:
        return self.root / ".venv" / "install.log"

    @property
    def stamp(self) -> Path:
        return self.root / ".venv" / "install.stamp"

    def packages(self) -> Path:
        return next((self.root / ".venv" / "lib").glob("python3*/site-packages"))

    def builds(self) -> int:
        path = self.root / "builds"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def block(self) -> None:
        (self.root / "block").touch()

    def unblock(self) -> None:
        (self.root / "block").unlink()

    def is_blocked(self) -> bool:
        return (self.root / "blocked").exists()

    def needs(self, requirement: str) -> None:
        (self.root / "requires").write_text(f"Requires-Dist: {requirement}\n")
        project = f'{BUILD_SYSTEM}\n[project]\nname = "rbee"\ndependencies = ["{requirement}"]\n'
        (self.root / "pyproject.toml").write_text(project)

    def needs_engine(self) -> None:
        self.needs(f"llama-cpp-python=={ENGINE_VERSION}")

    def engine_options(self) -> str:
        """The CMAKE_ARGS that the installed stand-in was built with."""
        return self.python("-c", "import llama_cpp; print(llama_cpp.BUILT_WITH)").strip()

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(self.root / "rbee.py"), *arguments]

    def begin(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            env={**self.environ, **environ},
            cwd=self.root.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        with self.begin(*arguments, **environ) as process:
            return finish(process)

    def python(self, *arguments: str, **environ: str) -> str:
        return subprocess.check_output(
            [self.root / ".venv" / "bin" / "python", *arguments],
            env={**self.environ, **environ},
            timeout=DEADLINE_S,
            text=True,
        )


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def make_miniature(folder: Path, venv: Path | None) -> Miniature:
    """A project in a folder with a space in its name; `venv` spares it the making of one."""
    root = folder / "small rbee"
    (root / "rbee").mkdir(parents=True)
    shutil.copy(LAUNCHER, root / "rbee.py")
    (root / "backend.py").write_text(BACKEND)
    (root / "requires").write_text("")
    (root / "pyproject.toml").write_text(BUILD_SYSTEM)
    (root / "rbee" / "__init__.py").write_text("")
    (root / "rbee" / "main.py").write_text(SAY_BACK)
    (root / "pytest.py").write_text(SAY_BACK)
    if venv is not None:
        shutil.copytree(venv, root / ".venv", symlinks=True)
    return Miniature(root, environment(folder))


def environment(folder: Path) -> dict[str, str]:
    """This process's, without what would steer pip or the build, and with no index at all."""
    steering = ("PIP_", "CMAKE", "CUDA", "CXX", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    (folder / "bin").mkdir(exist_ok=True)
    compiler = folder / "bin" / "c++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    return {
        **kept,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(temporary),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": (folder / "links").as_uri(),
        "PIP_CACHE_DIR": str(folder / "cache"),
        "PIP_CONFIG_FILE": os.devnull,
    }
