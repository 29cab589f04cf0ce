"""What this machine can run a model on.

CPU always; NVIDIA as `nvidia-smi` tells it, Metal as `sysctl` does. An accelerator is offered only
when the installed llama.cpp was built for it, which its libraries' names show without loading them.
The parsers are pure. GPU memory is asked again every `REFRESH_S`, outside the event loop's way.
"""

from __future__ import annotations

import importlib.util
import logging
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import anyio
import psutil

from rbee.contracts.fleet import Device

log = logging.getLogger(__name__)
REFRESH_S = 10.0
TOOL_S = 10.0
_NVIDIA = (
    "--query-gpu=index,name,memory.total,memory.free",
    "--format=csv,noheader,nounits",
)
_METAL = ("-n", "machdep.cpu.brand_string", "iogpu.wired_limit_mb")
_MIB = 2**20


def parse_nvidia(text: str, ram_total: int, ram_free: int) -> list[Device]:
    """Devices from `nvidia-smi`'s CSV; lines that are none are left out.

    Machines whose GPU shares the main memory say `[N/A]`: theirs is the RAM.
    """
    found = []
    for line in text.splitlines():
        fields = [part.strip() for part in line.split(",")]
        if len(fields) < 4 or not _is_count(fields[0]):
            continue
        total, free = fields[-2:]
        shared = not (_is_count(total) and _is_count(free))
        found.append(
            Device(
                id=f"cuda:{int(fields[0])}",
                kind="cuda",
                name=", ".join(fields[1:-2])[:200] or "NVIDIA GPU",
                memory_total=ram_total if shared else int(total) * _MIB,
                memory_free=ram_free if shared else int(free) * _MIB,
            )
        )
    return found


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12


def parse_metal(text: str, ram_total: int, ram_free: int) -> list[Device]:
    """The GPU of an Apple chip, from `sysctl -n machdep.cpu.brand_string iogpu.wired_limit_mb`.

    The system lets a GPU hold about three quarters of the memory unless a limit is set.
    """
    lines = [line.strip() for line in text.splitlines()]
    name = lines[0] if lines else ""
    if not name.startswith("Apple"):
        return []
    limit = lines[1] if len(lines) > 1 else ""
    set_by_user = _is_count(limit) and int(limit) > 0
    total = int(limit) * _MIB if set_by_user else ram_total * 3 // 4
    return [Device("metal", "metal", name[:200], total, min(total, ram_free))]


def parse_cpu_name(text: str) -> str:
    """The model's name from `/proc/cpuinfo`; empty when it has none."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "Hardware") and value.strip():
            return value.strip()[:200]
    return ""


def accelerators(libraries: Iterable[str]) -> frozenset[str]:
    """What llama.cpp was built for, from the names of its libraries."""
    names = " ".join(libraries)
    return frozenset(kind for kind in ("cuda", "metal") if f"ggml-{kind}" in names)


def installed_accelerators() -> frozenset[str]:
    """As `accelerators`, for the llama.cpp of this Python; nothing is loaded."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        return frozenset()
    folder = Path(spec.origin).parent / "lib"
    return accelerators(p.name for p in folder.iterdir()) if folder.is_dir() else frozenset()


class Devices:
    """The machine's devices; `changed` is called when accelerators appear or go."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._cpu_name = cpu_name()
        self._accelerators: list[Device] = []
        self._trouble = ""
        self._known = anyio.Event()

    def __repr__(self) -> str:
        return f"<Devices {', '.join(d.id for d in self.now())}>"

    def now(self) -> list[Device]:
        """What is known now: accelerators first."""
        memory = psutil.virtual_memory()
        cpu = Device("cpu", "cpu", self._cpu_name, int(memory.total), int(memory.available))
        return [*self._accelerators, cpu]

    async def known(self) -> list[Device]:
        """As `now`, after the first look at the accelerators."""
        with anyio.move_on_after(TOOL_S):
            await self._known.wait()
        return self.now()

    async def loop(self) -> None:
        """Look, again and again while there is anything to see; for the hive's task group."""
        built_for = await anyio.to_thread.run_sync(installed_accelerators)
        while (tool := tool_for(sys.platform)) is not None:
            found, trouble = await look(tool)
            usable = [d for d in found if d.kind in built_for]
            if len(usable) < len(found):
                names = ", ".join(d.name for d in found if d not in usable)
                trouble = f"llama.cpp was built without support for {names}; install rbee anew"
            self._take(usable, trouble)
            await anyio.sleep(REFRESH_S)
        self._known.set()

    def _take(self, usable: list[Device], trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.warning("%s", trouble)
        is_new = [d.id for d in usable] != [d.id for d in self._accelerators]
        self._accelerators, self._trouble = usable, trouble
        self._known.set()
        if is_new:
            self._changed()


@dataclass(frozen=True)
class Tool:
    """A program that tells of accelerators, and how it is read."""

    argv: tuple[str, ...]
    parse: Callable[[str, int, int], list[Device]]


def tool_for(system: str) -> Tool | None:
    """The tool of this machine; None where there can be no accelerator."""
    if system == "darwin":
        return Tool(("sysctl", *_METAL), parse_metal)
    found = shutil.which("nvidia-smi")
    return Tool((found, *_NVIDIA), parse_nvidia) if found else None


async def look(tool: Tool, limit_s: float = TOOL_S) -> tuple[list[Device], str]:
    """What the tool tells, and what is wrong with it, if anything."""
    memory = psutil.virtual_memory()
    try:
        with anyio.fail_after(limit_s):
            done = await anyio.run_process(
                list(tool.argv), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
            )
    except TimeoutError:
        return [], f"{tool.argv[0]} said nothing within {limit_s:g} s"
    except OSError as exc:
        return [], f"{tool.argv[0]} cannot be started: {exc.strerror}"
    text = done.stdout.decode("utf-8", "replace")
    found = tool.parse(text, int(memory.total), int(memory.available))
    bad = done.returncode != 0 and not found
    return found, f"{tool.argv[0]} ended with exit code {done.returncode}" if bad else ""


def cpu_name() -> str:
    """The processor, as its maker calls it."""
    try:
        found = parse_cpu_name(Path("/proc/cpuinfo").read_text("utf-8", "replace"))
    except OSError:
        found = ""
    return found or platform.processor() or platform.machine() or "CPU"
