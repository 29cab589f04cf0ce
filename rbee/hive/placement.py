"""On which device a worker goes. Pure; what is not there is refused, naming what is."""

from __future__ import annotations

from collections.abc import Sequence

from rbee.contracts.fleet import Device
from rbee.errors import Invalid


def choose(devices: Sequence[Device], kind: str | None, device: str | None) -> Device:
    """The device for a spawn that asked for a `kind` (its field `worker`), a `device`, or neither.

    1. A named device must be there, and be of the kind asked for.
    2. Of a kind, the one with the most free memory.
    3. With nothing asked, an accelerator before the CPU.
    """
    if device is not None:
        return _named(devices, kind, device)
    fitting = [d for d in devices if kind in (None, d.kind)]
    if not fitting:
        raise _absent(devices, str(kind), "$.worker")
    return max(fitting, key=lambda d: (d.kind != "cpu", d.memory_free, d.id))


def _named(devices: Sequence[Device], kind: str | None, device: str) -> Device:
    if device in ("cpu", "cuda", "metal") and all(d.id != device for d in devices):
        if kind not in (None, device):
            raise _contradiction(kind, device)
        return choose(devices, device, None)
    for found in devices:
        if found.id == device:
            if kind not in (None, found.kind):
                raise _contradiction(kind, device)
            return found
    raise _absent(devices, device, "$.device")


def _contradiction(kind: str | None, device: str) -> Invalid:
    return Invalid(f"Device {device[:40]!r} is not of the kind {kind!r}.", path="$.device")


def _absent(devices: Sequence[Device], wanted: str, path: str) -> Invalid:
    names = ", ".join(f"{d.id} ({d.name})" for d in devices)
    return Invalid(f"There is no device {wanted[:40]!r} here. There are: {names}.", path=path)
