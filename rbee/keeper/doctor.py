"""`rbee doctor`: what this machine has, what it lacks, and what to do about it.

Looks at this machine only; nothing outside it is contacted. llama.cpp is asked in a process of its
own, for a broken build may end the one that loads it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import click
from msgspec import Struct

from rbee import __version__, paths
from rbee.client.requests import hive_address, queen_addresses
from rbee.errors import RbeeError
from rbee.keeper import stack
from rbee.keeper.options import json_option, queen_option
from rbee.keeper.show import size
from rbee.wire import codec

LLAMA_LIMIT_S = 60.0
FULL_DISK_BYTES = 100 * 1024**2
LOW_DISK_BYTES = 1024**3
"""Models are large: less room than this is worth a word."""
ASK_LLAMA = """
import llama_cpp
print(llama_cpp.__version__, "gpu" if llama_cpp.llama_supports_gpu_offload() else "cpu")
"""


class Finding(Struct, kw_only=True, omit_defaults=True):
    """One line of the doctor's report."""

    check: str
    state: Literal["ok", "note", "bad"]
    said: str
    hint: str = ""


@click.command()
@queen_option
@click.option("--hive", metavar="URL", default="", help="Else RBEE_HIVE_URL, else the local one.")
@json_option
def doctor(queen: str, hive: str, as_json: bool) -> None:
    """Check that rbee can run here; exits 1 when something is bad."""
    bad = False
    for found in _all(queen_addresses(queen), hive_address(hive)):
        _show(found, as_json)
        bad = bad or found.state == "bad"
    if bad:
        raise click.exceptions.Exit(1)


def _all(queens: Sequence[str], hive: str) -> Iterator[Finding]:
    yield from python()
    yield from llama()
    yield from home()
    yield from settings()
    yield from servers(queens, hive)


def _show(found: Finding, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(codec.encode(found).decode() + "\n")
    else:
        hint = f"\n{'':18}hint: {found.hint}" if found.hint else ""
        sys.stdout.write(f"{found.state:<5}{found.check:<13}{found.said}{hint}\n")
    sys.stdout.flush()


def python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    said = f"rbee {__version__} on Python {version} ({sys.platform}), {os.cpu_count()} CPUs"
    yield Finding(check="python", state="ok", said=said)


def llama() -> Iterator[Finding]:
    """Whether llama.cpp loads, and for what it was built."""
    try:
        asked = subprocess.run(
            [sys.executable, "-P", "-c", ASK_LLAMA],
            capture_output=True,
            text=True,
            timeout=LLAMA_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        yield Finding(check="llama.cpp", state="bad", said=f"loads longer than {LLAMA_LIMIT_S} s")
        return
    if asked.returncode:
        why = (asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1]
        yield Finding(
            check="llama.cpp",
            state="bad",
            said=why[:200],
            hint="install rbee again: remove its .venv and run python3 rbee.py",
        )
        return
    version, _, build = asked.stdout.strip().partition(" ")
    yield Finding(check="llama.cpp", state="ok", said=f"llama-cpp-python {version}, for {build}")
    if build == "cpu" and shutil.which("nvidia-smi"):
        yield Finding(
            check="gpu",
            state="note",
            said="an NVIDIA driver is here, but llama.cpp was built without CUDA",
            hint="install the CUDA toolkit (nvcc), remove .venv and run python3 rbee.py",
        )


def home() -> Iterator[Finding]:
    """Whether rbee may write where it keeps its files, and how much room is there."""
    for name, folder in (("state", paths.state_dir()), ("models", paths.models_dir())):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                free = shutil.disk_usage(folder).free
        except OSError as exc:
            hint = "set RBEE_HOME to a folder that you may write"
            yield Finding(check=name, state="bad", said=f"{folder}: {exc.strerror}", hint=hint)
            continue
        yield room(name, folder, free)


def room(name: str, folder: Path, free: int) -> Finding:
    """What `free` bytes mean for that folder."""
    said = f"{folder}, {size(free)} free"
    if free < FULL_DISK_BYTES:
        return Finding(check=name, state="bad", said=said, hint="free some room on that disk")
    low = name == "models" and free < LOW_DISK_BYTES
    return Finding(check=name, state="note" if low else "ok", said=said)


def settings() -> Iterator[Finding]:
    """Whether the settings files and the environment can be read."""
    from rbee import config

    kinds = (config.QueenConfig, config.HiveConfig, config.WorkerConfig)
    for role, kind in zip(("queen", "hive", "worker"), kinds, strict=True):
        file = paths.config_dir() / f"{role}.toml"
        try:
            _load(kind, file)
        except RbeeError as exc:
            yield Finding(check="settings", state="bad", said=exc.message, hint=exc.hint)
            continue
        if file.exists():
            yield Finding(check="settings", state="ok", said=str(file))


def _load(kind: type[object], file: Path) -> None:
    from rbee import config

    config.load(kind, file)  # type: ignore[type-var]


def servers(queens: Sequence[str], hive: str) -> Iterator[Finding]:
    """Whether the queens and the hive answer, or their ports are free."""
    wanted: list[tuple[stack.Part, str]] = [*(("queen", queen) for queen in queens), ("hive", hive)]
    for part, url in wanted:
        try:
            up = stack.answers(part, url)
        except RbeeError as exc:
            yield Finding(check=part, state="bad", said=exc.message, hint=exc.hint)
            continue
        if up:
            yield Finding(check=part, state="ok", said=f"answers at {url}")
        elif not stack.is_local(url):
            yield Finding(check=part, state="bad", said=f"nothing answers at {url}")
        else:
            yield _port(part, url)


def _port(part: str, url: str) -> Finding:
    parts = urlsplit(url)
    family = socket.AF_INET6 if ":" in (parts.hostname or "") else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((parts.hostname, parts.port or 80))
        except OSError as exc:
            return Finding(check=part, state="bad", said=f"{url} cannot be bound: {exc.strerror}")
    return Finding(
        check=part, state="ok", said=f"not running; {url} is free", hint="rbee up starts it"
    )
