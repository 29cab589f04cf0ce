"""What the tools of real machines printed, and rubbish, as devices; and which one a worker gets."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.contracts.fleet import Device
from rbee.errors import Invalid
from rbee.hive.devices import (
    Tool,
    accelerators,
    cpu_name,
    look,
    parse_cpu_name,
    parse_metal,
    parse_nvidia,
)
from rbee.hive.placement import choose

GIB, MIB = 2**30, 2**20
TWO_CARDS = """\
0, NVIDIA GeForce RTX 4090, 24564, 23912
1, NVIDIA GeForce RTX 3060, 12288, 11900
"""


def test_two_cards() -> None:
    first, second = parse_nvidia(TWO_CARDS, 64 * GIB, 32 * GIB)
    assert (first.id, first.kind, first.name) == ("cuda:0", "cuda", "NVIDIA GeForce RTX 4090")
    assert (first.memory_total, first.memory_free) == (24_564 * MIB, 23_912 * MIB)
    assert second.id == "cuda:1"


def test_a_gpu_that_shares_the_main_memory() -> None:
    (found,) = parse_nvidia("0, NVIDIA GB10, [N/A], [N/A]\n", 128 * GIB, 100 * GIB)
    assert (found.memory_total, found.memory_free) == (128 * GIB, 100 * GIB)


def test_a_name_with_commas() -> None:
    (found,) = parse_nvidia("3, Weird, Very, Card, 1000, 900\n", 0, 0)
    assert (found.id, found.name, found.memory_total) == ("cuda:3", "Weird, Very, Card", 1000 * MIB)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No devices were found\n",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure "
        "that the latest NVIDIA driver is installed and running.\n",
        "Failed to initialize NVML: Driver/library version mismatch\n",
        "index, name, memory.total [MiB], memory.free [MiB]\n",
        "-1, x, 1, 1\n0, y, 1\n",
    ],
)
def test_what_is_no_device(text: str) -> None:
    assert parse_nvidia(text, 1, 1) == []


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert all(d.kind == "cuda" for d in parse_nvidia(text, 1, 1))
    assert len(parse_metal(text, 1, 1)) <= 1
    assert len(parse_cpu_name(text)) <= 200


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("Apple M3 Max\n0\n", 48 * GIB),
        ("Apple M3 Max\n", 48 * GIB),
        ("Apple M3 Max\n57344\n", 56 * GIB),
    ],
)
def test_metal(text: str, total: int) -> None:
    (found,) = parse_metal(text, 64 * GIB, 20 * GIB)
    assert (found.id, found.name, found.memory_total) == ("metal", "Apple M3 Max", total)
    assert found.memory_free == 20 * GIB


def test_an_intel_mac_has_no_metal_for_us() -> None:
    assert parse_metal("Intel(R) Core(TM) i7-9750H CPU @ 2.60GHz\n", GIB, GIB) == []


def test_cpu_names() -> None:
    assert parse_cpu_name("processor\t: 0\nmodel name\t: AMD Ryzen 9\n") == "AMD Ryzen 9"
    assert parse_cpu_name("Model\t\t: Raspberry Pi 5\n") == "Raspberry Pi 5"
    assert parse_cpu_name("processor: 0\n") == ""
    assert cpu_name()


def test_what_llama_cpp_was_built_for_shows_in_its_libraries() -> None:
    assert accelerators(["libggml-cpu.so", "libllama.so"]) == frozenset()
    assert accelerators(["libggml-cuda.so", "libggml.so"]) == {"cuda"}
    assert accelerators(["libggml-metal.dylib"]) == {"metal"}


def program(folder: Path, script: str) -> Tool:
    """A program in the place of `nvidia-smi`."""
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Tool((str(path),), parse_nvidia)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for the tool")
@pytest.mark.parametrize(
    ("script", "count", "said"),
    [
        ("echo '0, NVIDIA T4, 15360, 15000'", 1, ""),
        ("echo broken; exit 9", 0, "exit code 9"),
        ("exec sleep 60", 0, "nothing within 0.2 s"),
    ],
)
def test_a_tool_that_answers_fails_or_hangs(
    tmp_path: Path, script: str, count: int, said: str
) -> None:
    async def test() -> None:
        limit_s = 0.2 if "sleep" in script else 20.0
        found, trouble = await look(program(tmp_path, script), limit_s)
        assert len(found) == count
        assert said in trouble
        assert bool(trouble) == bool(said)

    anyio.run(test)


def test_a_tool_that_is_not_there() -> None:
    async def test() -> None:
        assert "cannot be started" in (await look(Tool(("/no/such",), parse_nvidia)))[1]

    anyio.run(test)


CPU = Device("cpu", "cpu", "AMD", 64 * GIB, 60 * GIB)
SMALL = Device("cuda:0", "cuda", "RTX 3060", 12 * GIB, 11 * GIB)
LARGE = Device("cuda:1", "cuda", "RTX 4090", 24 * GIB, 20 * GIB)
BOX = [SMALL, LARGE, CPU]


@pytest.mark.parametrize(
    ("devices", "kind", "device", "chosen"),
    [
        (BOX, None, None, LARGE),
        ([CPU], None, None, CPU),
        (BOX, "cpu", None, CPU),
        (BOX, "cuda", None, LARGE),
        (BOX, None, "cuda:0", SMALL),
        (BOX, "cuda", "cuda:0", SMALL),
        (BOX, None, "cuda", LARGE),
        (BOX, None, "cpu", CPU),
    ],
)
def test_the_device_of_a_worker(
    devices: list[Device], kind: str | None, device: str | None, chosen: Device
) -> None:
    assert choose(devices, kind, device) is chosen


@pytest.mark.parametrize(
    ("kind", "device", "path", "said"),
    [
        ("metal", None, "$.worker", "no device 'metal' here"),
        (None, "cuda:7", "$.device", r"cuda:0 \(RTX 3060\), cuda:1 \(RTX 4090\), cpu \(AMD\)"),
        ("cpu", "cuda:0", "$.device", "not of the kind 'cpu'"),
        ("cpu", "cuda", "$.device", "not of the kind 'cpu'"),
        (None, "../etc", "$.device", "no device"),
    ],
)
def test_a_device_that_is_not_there(
    kind: str | None, device: str | None, path: str, said: str
) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        choose(BOX, kind, device)
    assert caught.value.path == path
