#!/usr/bin/env python3
"""Starts rbee from a checkout: `python3 rbee.py ARGS` installs on first use, then hands over.

It runs before anything is installed, so it is one file, uses only the standard library and keeps
to Python 3.6's syntax: an old Python must get far enough to say that it is too old. The package
never imports it (`import rbee` finds the folder beside this file), and it knows nothing of what
rbee does.

    python3 rbee.py ARGS                      rbee itself
    python3 rbee.py test [PYTEST ARGS]        the test suite
    python3 rbee.py setup [--test] [--rebuild]   install only; --rebuild compiles llama.cpp again

Decisions:
1. Whether to install is read off one small file, the stamp, which is written last of all. Every
   start pays for this file, so only `os` and `sys` are imported up here; what an install needs is
   imported by the functions that need it.
2. One install at a time. pip holds the lock too: a launcher killed with -9 leaves a pip behind,
   which ends when it next speaks, and the next start waits for that instead of joining in.
3. Whatever an unfinished install left is made whole by pip, after taking out what pip would
   mistake for installed; only a .venv that does not run is made anew.
4. pip's cache does not know how a wheel of llama-cpp-python was built. A build with options of
   its own goes round the cache both ways, so what is cached is the default build; and what comes
   out of the cache must load before the stamp is written.
5. A build for CUDA links the NVIDIA driver and cannot even be loaded without it: no driver, no
   CUDA. Which GPUs nvcc compiles for is llama.cpp's choice: those present, where CMake can.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Mapping, Sequence

MINIMUM = (3, 11)
ENGINE = "llama-cpp-python"
ROOT = os.path.dirname(os.path.realpath(__file__))
PROJECT = os.path.join(ROOT, "pyproject.toml")
VENV = os.path.join(ROOT, ".venv")
BIN = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin")
PYTHON = os.path.join(BIN, "python.exe" if os.name == "nt" else "python")
STAMP = os.path.join(VENV, "install.stamp")
LOG = os.path.join(VENV, "install.log")
LOCK = os.path.join(VENV, "install.lock")

LOCK_WAIT_S = 3600
SILENCE_S = 1800  # the slowest single file takes minutes, so this is a hang
NEWS_S = 30
END_S = 5
TAIL_LINES = 15

USAGE = "usage: python3 rbee.py setup [--test] [--rebuild]"


class Stop(Exception):
    """Raised when the launcher cannot go on: one clear line, and what helps."""

    def __init__(
        self, message: str, hint: str = "", code: int = 1, lines: "Sequence[str]" = ()
    ) -> None:
        super().__init__(message)
        self.message, self.hint, self.code, self.lines = message, hint, code, lines


# ---- start: what every start runs ----------------------------------------------------------------


def start(argv: "list[str]") -> int:
    if argv[:1] == ["setup"]:
        return setup(argv[1:])
    test = argv[:1] == ["test"]
    if outdated(read_stamp(), present(), test):
        install(test)
    if test:
        os.chdir(ROOT)
        return hand_over(["-m", "pytest", *argv[1:]])
    # -P: a stray json.py in the user's folder must not become part of rbee.
    return hand_over(["-P", "-m", "rbee.main", *argv])


def setup(flags: "list[str]") -> int:
    if not set(flags) <= {"--test", "--rebuild"}:
        raise Stop("setup does not know " + " ".join(flags), USAGE, code=2)
    test, rebuild = "--test" in flags, "--rebuild" in flags
    if rebuild or outdated(read_stamp(), present(), test):
        install(test, rebuild)
    else:
        say("already installed in " + VENV)
        tell_choice_changed(read_stamp().get("engine", ""))
    return 0


def hand_over(arguments: "list[str]") -> int:
    command = [PYTHON, *arguments]
    if os.name == "posix":
        os.execv(PYTHON, command)
    import subprocess

    process = subprocess.Popen(command)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the child has had the same Ctrl-C: its exit code counts
            continue


def present() -> "dict[str, str]":
    """What an install depends on. Values are escaped, so that each is one line of the stamp."""
    try:
        with open(PROJECT, encoding="utf-8", errors="surrogateescape") as file:
            project = file.read()
    except FileNotFoundError:
        raise Stop(PROJECT + " is missing", "keep rbee.py in its checkout of rbee") from None
    return {"root": ascii(ROOT), "python": ascii(interpreter()), "project": ascii(project)}


def interpreter() -> str:
    """The Python behind .venv, or nothing where that is gone; an upgrade moves it."""
    path = os.path.realpath(PYTHON)
    if os.name == "nt":  # a copy there, whatever becomes of the original
        try:
            with open(os.path.join(VENV, "pyvenv.cfg"), encoding="utf-8") as file:
                path = file.read().partition("executable = ")[2].partition("\n")[0]
        except OSError:
            return ""
    return path if os.path.isfile(path) else ""


def read_stamp() -> "dict[str, str]":
    try:
        with open(STAMP, encoding="ascii", errors="replace") as file:
            return load_stamp(file.read())
    except OSError:
        return {}


def load_stamp(text: str) -> "dict[str, str]":
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def dump_stamp(stamp: "Mapping[str, str]") -> str:
    return "".join(f"{key} {value}\n" for key, value in stamp.items())


def outdated(stamp: "Mapping[str, str]", now: "Mapping[str, str]", test: bool) -> str:
    """Why an install is due, or nothing."""
    if not stamp:
        return "the last install did not finish"
    if stamp.get("python") != now["python"]:
        return "the Python behind .venv has changed"
    if stamp.get("root") != now["root"]:
        return "the folder has moved"
    if stamp.get("project") != now["project"]:
        return "pyproject.toml has changed"
    if test and stamp.get("extras") != "test":
        return "the tests need more packages"
    return ""


# ---- decide: pure functions ----------------------------------------------------------------------


class Choice:
    """How llama.cpp is built here. `own`: not the default build, so pip's cache cannot help."""

    def __init__(self, name: str, said: str, cmake_args: str = "") -> None:
        self.name, self.said, self.cmake_args = name, said, cmake_args
        self.own = bool(cmake_args)


def choose(cmake_args: str, platform: str, nvcc: str, driver: bool) -> Choice:
    if cmake_args:
        said = "CMAKE_ARGS is set: building llama.cpp with " + cmake_args
        return Choice("CMAKE_ARGS=" + cmake_args, said, cmake_args)
    if platform == "darwin":
        return Choice("metal", "macOS: building llama.cpp with Metal, its default here")
    if nvcc and driver:
        cuda = "-DGGML_CUDA=on"
        return Choice("cuda", f"nvcc found ({nvcc}): building llama.cpp with CUDA", cuda)
    if nvcc:
        said = (
            "nvcc found, but no NVIDIA driver: building for the CPU; "
            "CMAKE_ARGS=-DGGML_CUDA=on overrides"
        )
        return Choice("cpu", said)
    if driver:
        said = (
            "NVIDIA driver found, but no nvcc: building for the CPU; with the CUDA toolkit "
            "installed, `python3 rbee.py setup --rebuild` builds for the GPU"
        )
        return Choice("cpu", said)
    return Choice("cpu", "no nvcc found: building llama.cpp for the CPU")


def find_nvcc(
    environ: "Mapping[str, str]", which: "Callable[[str], str | None]", platform: str
) -> str:
    folders = [environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    if platform != "win32":
        folders.append("/usr/local/cuda")
    places = [environ.get("CUDACXX", ""), "nvcc"]
    places += [os.path.join(folder, "bin", "nvcc") for folder in folders if folder]
    found = (which(place) for place in places if place)
    return next((path for path in found if path), "")


def build_environment(environ: "Mapping[str, str]", choice: Choice, nvcc: str) -> "dict[str, str]":
    """What pip runs under. A PIP_* the user set counts, but the place is not up for choice."""
    made = dict(environ)
    made.update(PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    if choice.cmake_args:
        made["CMAKE_ARGS"] = choice.cmake_args
    if choice.name == "cuda":
        made["CUDACXX"] = nvcc
        # CMake's search for the toolkit knows PATH, not CUDACXX.
        made["PATH"] = made.get("PATH", "") + os.pathsep + os.path.dirname(nvcc)
    return made


AMX_OFF = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"


def without_amx(environ: "Mapping[str, str]", cpu: str, accepted: bool) -> "dict[str, str]":
    """GCC 12 miscompiles llama.cpp's AMX kernels (a prompt crashes them), and no compiler is worth
    the risk: on a CPU that has AMX they are left out, where the compiler knows how."""
    if "amx_int8" not in cpu.split() or not accepted:
        return {}
    return {
        name: (environ.get(name, "") + " " + AMX_OFF).strip() for name in ("CFLAGS", "CXXFLAGS")
    }


def find_compiler(environ: "Mapping[str, str]", which: "Callable[[str], str | None]") -> str:
    named = environ.get("CXX", "").split()[:1]
    found = (which(name) for name in [*named, "c++", "g++", "clang++", "cl"])
    return next((path for path in found if path), "")


def compiler_hint(platform: str, which: "Callable[[str], str | None]") -> str:
    if platform == "darwin":
        return "xcode-select --install"
    if platform == "win32":
        return "install the Visual Studio Build Tools with 'Desktop development with C++'"
    for manager, command in (
        ("apt-get", "sudo apt install g++"),
        ("dnf", "sudo dnf install gcc-c++"),
        ("pacman", "sudo pacman -S gcc"),
        ("zypper", "sudo zypper install gcc-c++"),
        ("apk", "sudo apk add g++ linux-headers"),
    ):
        if which(manager):
            return command
    return "install g++ or clang++, or name yours in CXX"


def python_fault(version: "tuple[int, ...]", newer: str) -> "Stop | None":
    if tuple(version[:2]) >= MINIMUM:
        return None
    this = ".".join(str(part) for part in version[:3])
    hint = f"{newer} rbee.py ..." if newer else "install a newer one; they live side by side"
    return Stop(f"rbee needs Python 3.11 or newer; this is {this}", hint)


def engine_pin(project: str) -> str:
    import re

    found = re.search(r"[\"']llama-cpp-python\s*==\s*([^\s\"';,]+)", project)
    return found.group(1) if found else ""


COMPILING = "compiling llama.cpp"
STAGES = (
    (r"(Obtaining|Collecting|Downloading|Looking in) ", "fetching packages"),
    (r"\s*Building wheel for llama[-_]cpp[-_]python ", COMPILING),
    (r"Building wheels for collected packages", "building packages"),
    (r"Installing collected packages", "installing packages"),
)


class Progress:
    """Where pip is, read off what it prints; knows no clock and no terminal."""

    def __init__(self, stage: str) -> None:
        import re

        self.stage, self.done, self.total = stage, 0, 0
        self.stages = [(re.compile(pattern), name) for pattern, name in STAGES]
        self.step = re.compile(r"\s*\[(\d+)/(\d+)\] ")

    def read(self, line: str) -> None:
        step = self.step.match(line)
        if step and self.stage == COMPILING:
            self.done, self.total = int(step.group(1)), int(step.group(2))
            return
        for pattern, stage in self.stages:
            if pattern.match(line):
                self.stage, self.done, self.total = stage, 0, 0

    def __str__(self) -> str:
        if not self.total:
            return self.stage
        percent = 100 * self.done // self.total
        return f"{self.stage}, {self.done} of {self.total} ({percent}%)"


NOISE = (
    r"\s*$|\s*[\u2502\u2570\u00d7]|\s*(error|note|hint): (subprocess|This error|See above)"
    r"|\[notice\]|\s*(full command|cwd):|.*finished with status 'error'"
)


def relevant(lines: "Iterable[str]") -> "list[str]":
    """The end of a log without pip's own words about a failure that happened further up."""
    import re

    kept = [line.rstrip() for line in lines if not re.match(NOISE, line)]
    return [line if len(line) <= 160 else line[:157] + "..." for line in kept[-TAIL_LINES:]]


HINTS = (
    (
        r"No space left|Errno 28\b|not enough space|Disk quota exceeded",
        "the disk is full: an install needs about 2 GB, a part of it in the temporary folder "
        "(TMPDIR moves that, PIP_CACHE_DIR pip's cache)",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "the package index's certificate is not trusted: PIP_CERT names a bundle of your own",
    ),
    (
        r"NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|NameResolution|getaddrinfo"
        r"|name resolution|Connection (refused|reset)|Network is unreachable|from versions: none",
        "the package index could not be reached: check the network and, behind a proxy or with "
        "a mirror, HTTPS_PROXY and PIP_INDEX_URL; the next start goes on",
    ),
    (
        r"No matching distribution|Could not find a version",
        "the package index has no such version: `.venv/bin/python -m pip config list` tells "
        "which index pip asks",
    ),
    (
        r"signal terminated program|Killed\b|annot allocate memory|memory exhausted|out of memory",
        "memory ran out: CMAKE_BUILD_PARALLEL_LEVEL=1 compiles one file at a time",
    ),
    (
        r"nvcc fatal|CMAKE_CUDA|CUDA Toolkit|cuda_runtime|unsupported GNU version|libcuda",
        "CMAKE_ARGS=-DGGML_CUDA=off builds for the CPU",
    ),
    (r"Permission denied|Errno 13\b|Read-only file system", "this folder must be writable"),
)


def hint_for(text: str, compiler: str) -> str:
    import re

    if re.search(r"CMAKE_CX*_COMPILER (not set|could be found)|simple test program", text):
        return "the C++ compiler is missing or broken: " + compiler
    found = (hint for pattern, hint in HINTS if re.search(pattern, text))
    return next(found, "the next start tries again, with what pip has in its cache")


# ---- say: everything goes to stderr, stdout belongs to rbee --------------------------------------


def say(text: str) -> None:
    sys.stderr.write(f"rbee: {text}\n")
    sys.stderr.flush()


def report(stop: Stop) -> int:
    say(stop.message)
    for line in stop.lines:
        sys.stderr.write(f"    {line}\n")
    if stop.lines:
        say("the whole log: " + LOG)
    if stop.hint:
        sys.stderr.write(f"hint: {stop.hint}\n")
    return stop.code


class Display:
    """Shows that it moves: on a terminal one line kept up to date, elsewhere some lines."""

    def __init__(self) -> None:
        import time

        self.now = time.monotonic
        self.live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self.begun = self.told = self.now()
        self.stages: set[str] = set()

    def elapsed(self) -> str:
        seconds = int(self.now() - self.begun)
        return f"{seconds // 60}:{seconds % 60:02}"

    def tick(self, progress: Progress) -> None:
        text = f"{progress}, {self.elapsed()}"
        if self.live:
            self.rewrite(f"rbee: {text}")
        elif progress.stage not in self.stages or self.now() - self.told >= NEWS_S:
            self.stages.add(progress.stage)
            self.told = self.now()
            say(text)

    def clear(self) -> None:
        if self.live:
            self.rewrite("")

    def rewrite(self, text: str) -> None:
        width = (os.get_terminal_size(2).columns or 80) - 1  # 0: the terminal does not know
        sys.stderr.write("\r" + text[:width].ljust(width) + "\r")
        sys.stderr.flush()


def tell_choice_changed(built: str) -> None:
    choice = detect()[0]
    if built and built != ascii(choice.name):
        was = built.strip("'\"")
        say(f"llama.cpp was built for {was}; this machine would now get {choice.name}")
        sys.stderr.write("hint: python3 rbee.py setup --rebuild compiles it again\n")


# ---- install: what only the first start runs -----------------------------------------------------


def install(test: bool, rebuild: bool = False) -> None:
    check_python()
    end_on_signals()
    with Lock() as lock:
        stamp, now = read_stamp(), present()
        reason = outdated(stamp, now, test)
        if not reason and not rebuild:
            return  # another start did it while this one waited
        first = not os.path.lexists(PYTHON)
        say("first start: installing rbee into " + VENV if first else reason + ": installing")
        if stamp:
            os.unlink(STAMP)
        test = test or stamp.get("extras") == "test"
        with Runner(lock) as runner:
            make_venv(runner)
            engine = install_packages(runner, engine_pin(now["project"]), test, rebuild)
            say("installed in " + runner.display.elapsed())
        write_stamp(now, test, ascii(engine) if engine else stamp.get("engine", "unknown"))


def write_stamp(now: "Mapping[str, str]", test: bool, engine: str) -> None:
    stamp = dict(now, python=ascii(interpreter()), extras="test" if test else "none", engine=engine)
    with open(STAMP + ".new", "w", encoding="ascii") as file:
        file.write(dump_stamp(stamp))
    os.replace(STAMP + ".new", STAMP)


def install_packages(runner: "Runner", pin: str, test: bool, rebuild: bool) -> str:
    """Installs everything; the answer names how llama.cpp was built, if it was."""
    choice, nvcc = detect()
    runner.environ = build_environment(os.environ, choice, nvcc)
    runner.environ.update(without_amx(os.environ, cpu_flags(), knows_amx()))
    due = bool(pin) and (rebuild or not has_engine(pin))
    afresh = due and (rebuild or choice.own)
    if due:
        say(choice.said)
        check_compiler(runner, pin, cached=not afresh)
        length = "about five minutes on two cores" + (", with CUDA longer" * choice.own)
        say(f"llama.cpp compiles for {length}" + ("" if afresh else ", unless pip has it built"))
    if afresh:
        compile_engine(runner, pin)
    runner.pip(["-e", ".[test]" if test else "."])
    if pin and not engine_loads(runner):
        if not afresh:
            say("llama.cpp was built elsewhere and does not load here: compiling it")
            check_compiler(runner, pin, cached=False)
            compile_engine(runner, pin)
        if afresh or not engine_loads(runner):
            hint = "CMAKE_ARGS=-DGGML_CUDA=off python3 rbee.py setup --rebuild builds for the CPU"
            raise Stop("llama.cpp was built, but does not load here", hint, 1, runner.tail())
        due = True
    return choice.name if due else ""


def compile_engine(runner: "Runner", pin: str) -> None:
    runner.pip(["--force-reinstall", "--no-cache-dir", "--no-deps", f"{ENGINE}=={pin}"])


def check_python() -> None:
    import importlib.util

    version = tuple(sys.version_info[:3])
    fault = python_fault(version, "" if version >= MINIMUM else newer_python())
    if fault:
        raise fault
    if not all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        hint = "sudo apt install python3-venv" if sys.platform == "linux" else "reinstall Python"
        raise Stop("this Python lacks venv or ensurepip, so it cannot make .venv", hint)


def newer_python() -> str:
    """A Python on PATH that is new enough, tried out: version managers leave dead names there."""
    import shutil

    for minor in range(MINIMUM[1] + 3, MINIMUM[1] - 1, -1):
        path = shutil.which(f"python3.{minor}")
        if path and run_quietly([path, "-S", "-c", ""], timeout_s=5)[0] == 0:
            return f"python3.{minor}"
    return ""


def detect() -> "tuple[Choice, str]":
    import shutil

    nvcc = find_nvcc(os.environ, shutil.which, sys.platform)
    cmake_args = os.environ.get("CMAKE_ARGS", "").strip()
    return choose(cmake_args, sys.platform, nvcc, has_driver()), nvcc


def cpu_flags() -> str:
    """What Linux says the CPU can do; nothing elsewhere (no Mac has AMX in this sense)."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            return next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return ""


def knows_amx() -> bool:
    """Whether the compiler takes the options that turn AMX off; one that does not never uses it."""
    import shutil

    compiler = find_compiler(os.environ, shutil.which)
    test = [compiler, *AMX_OFF.split(), "-x", "c++", "-E", os.devnull]
    return bool(compiler) and run_quietly(test, timeout_s=10)[0] == 0


def has_driver() -> bool:
    """Whether the library that a CUDA build links can be loaded; nvidia-smi does not prove it."""
    try:
        import ctypes

        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except (ImportError, OSError):
        return False
    return True


def check_compiler(runner: "Runner", pin: str, cached: bool) -> None:
    """Stops before a compile that cannot work, unless pip has a wheel or is offered one."""
    import shutil

    if has_compiler():
        return
    pip = [PYTHON, "-m", "pip"]
    if cached:
        listing = run_quietly([*pip, "cache", "list", "llama_cpp_python"], 60, runner.environ)[1]
        if f"llama_cpp_python-{pin}-" in listing:
            return
    wheel = ["--dry-run", "--no-deps", "--only-binary", ":all:", f"{ENGINE}=={pin}"]
    if run_quietly([*pip, "install", "--retries", "1", *wheel], 600, runner.environ)[0] == 0:
        return
    hint = compiler_hint(sys.platform, shutil.which)
    raise Stop("no C++ compiler found, and llama.cpp has to be compiled", hint)


def has_compiler() -> bool:
    import shutil

    found = find_compiler(os.environ, shutil.which)
    if sys.platform == "darwin" and found.startswith("/usr/bin/"):
        # These are there on every Mac, and ask for the real ones to be installed.
        return run_quietly(["xcode-select", "-p"], timeout_s=10)[0] == 0
    if sys.platform == "win32":  # CMake finds Visual Studio without PATH
        programs = os.environ.get("PROGRAMFILES(X86)", "")
        installer = ("Microsoft Visual Studio", "Installer", "vswhere.exe")
        return bool(found) or os.path.isfile(os.path.join(programs, *installer))
    return bool(found)


def make_venv(runner: "Runner") -> None:
    discard_halves()
    if venv_runs():
        return
    if os.path.lexists(PYTHON):
        say(".venv does not run: making it anew")
    clear_venv()
    base = getattr(sys, "_base_executable", "") or sys.executable
    runner.run("making .venv", [base, "-m", "venv", VENV])


def venv_runs() -> bool:
    probe = (
        "import importlib.metadata, pip, sys\n"
        "importlib.metadata.version('pip')\n"
        "sys.exit(sys.version_info < (3, 11))"
    )
    return run_quietly([PYTHON, "-I", "-c", probe], timeout_s=60)[0] == 0


def clear_venv() -> None:
    import shutil

    for name in os.listdir(VENV):
        path = os.path.join(VENV, name)
        if path in (LOG, LOCK):
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def site_packages() -> "list[str]":
    lib = os.path.join(VENV, "Lib" if os.name == "nt" else "lib")
    if os.name == "nt":
        return [os.path.join(lib, "site-packages")]
    versions = os.listdir(lib) if os.path.isdir(lib) else []
    found = [os.path.join(lib, version, "site-packages") for version in versions]
    return [path for path in found if os.path.isdir(path)]


def discard_halves() -> None:
    """Takes out what a killed pip left: it writes RECORD last, but takes the rest for installed."""
    import shutil

    for packages in site_packages():
        for name in os.listdir(packages):
            path = os.path.join(packages, name)
            half = name.endswith(".dist-info") and not os.path.exists(os.path.join(path, "RECORD"))
            if half or name.startswith("~"):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def has_engine(pin: str) -> bool:
    name = f"llama_cpp_python-{pin}.dist-info"
    return any(os.path.isdir(os.path.join(packages, name)) for packages in site_packages())


def engine_loads(runner: "Runner") -> bool:
    code, output = run_quietly([PYTHON, "-P", "-c", "import llama_cpp"], timeout_s=120)
    runner.note(output)
    return code == 0


def run_quietly(
    command: "list[str]", timeout_s: float, environ: "Mapping[str, str] | None" = None
) -> "tuple[int, str]":
    """A short command's exit code and output; one that does not start or end counts as failed."""
    import subprocess

    try:
        done = subprocess.run(
            command,
            env=environ,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        return 127, str(fault)
    return done.returncode, done.stdout.decode("utf-8", "replace")


class Runner:
    """Runs the long commands, one at a time: output to the log, progress to stderr."""

    def __init__(self, lock: int) -> None:
        import collections

        self.lock = lock
        self.environ = dict(os.environ)
        self.display = Display()
        self.heard = self.display.now()
        self.unlogged: OSError | None = None
        self.lines: collections.deque[str] = collections.deque(maxlen=400)
        self.log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *fault: object) -> None:
        os.close(self.log)

    def pip(self, arguments: "list[str]") -> None:
        flags = ["-v", "--no-input", "--progress-bar", "off"]
        self.run("starting pip", [PYTHON, "-m", "pip", "install", *flags, *arguments])

    def run(self, stage: str, command: "list[str]") -> None:
        import subprocess
        import threading

        self.note("$ " + " ".join(command) + "\n")
        self.lines.clear()
        progress = Progress(stage)
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            pass_fds=() if os.name == "nt" else (self.lock,),
        )
        reader = threading.Thread(target=self.read, args=(process, progress), daemon=True)
        try:
            reader.start()
            code = self.watch(process, progress)
        except BaseException:
            end(process)
            raise
        finally:
            self.display.clear()
        reader.join(END_S)
        if code:
            raise self.failure(progress.stage, code)

    def watch(self, process: "subprocess.Popen[bytes]", progress: Progress) -> int:
        import subprocess

        self.heard = self.display.now()
        while self.display.now() - self.heard < SILENCE_S:
            self.display.tick(progress)
            try:
                return process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                continue
        raise Stop(f"{progress.stage}: not a word in half an hour, given up", "", 1, self.tail())

    def read(self, process: "subprocess.Popen[bytes]", progress: Progress) -> None:
        for raw in process.stdout or ():
            self.heard = self.display.now()
            line = raw.decode("utf-8", "replace")
            progress.read(line)
            self.note(line)

    def note(self, text: str) -> None:
        """Keeps output in the log and in memory: a full disk must not stop the reading."""
        self.lines.extend(text.splitlines())
        try:
            os.write(self.log, text.encode("utf-8", "replace"))
        except OSError as fault:
            if self.unlogged is None:
                self.unlogged = fault

    def failure(self, stage: str, code: int) -> Stop:
        import shutil

        text = "\n".join([*self.lines, str(self.unlogged)])
        hint = hint_for(text, compiler_hint(sys.platform, shutil.which))
        return Stop(f"{stage} failed (exit {code})", hint, 1, self.tail())

    def tail(self) -> "list[str]":
        return relevant(self.lines)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a command and all that it started; a pip that may clean up leaves no half gigabyte."""
    import signal
    import subprocess

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "win32":
        run_quietly(["taskkill", "/T", "/F", "/PID", str(process.pid)], timeout_s=END_S)
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=END_S)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def end_on_signals() -> None:
    import signal

    def stop(number: int, frame: object) -> None:
        raise Stop(f"ended by signal {number}", "the next start goes on from here", 128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, stop)


class Lock:
    """One install at a time."""

    def __enter__(self) -> int:
        import time

        os.makedirs(VENV, exist_ok=True)
        self.file = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        deadline = time.monotonic() + LOCK_WAIT_S
        waiting = False
        while not try_lock(self.file):
            if not waiting:
                say("another start is installing: waiting for it; its log is " + LOG)
            waiting = True
            if time.monotonic() > deadline:
                raise Stop("the other install has not finished in an hour", "see " + LOG)
            time.sleep(0.2)
        return self.file

    def __exit__(self, *fault: object) -> None:
        os.close(self.file)


def try_lock(file: int) -> bool:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as fault:
            say(f"this folder knows no locks ({fault}): start only once until it is installed")
    return True


def main() -> int:
    try:
        return start(sys.argv[1:])
    except Stop as stop:
        return report(stop)
    except OSError as fault:
        return report(Stop(f"cannot go on: {fault}", hint_for(str(fault), "")))
    except KeyboardInterrupt:
        say("interrupted; the next start goes on from here")
        return 130


if __name__ == "__main__":
    sys.exit(main())
