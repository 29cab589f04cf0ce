"""What each operation of a hive does: one method each, chosen by one exhaustive match."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, assert_never

from rbee.config import HiveConfig, context_of
from rbee.contracts.answers import Deleted, Drained, ModelEntries, Spawned, WorkerProcesses
from rbee.contracts.events import Progress, Unit
from rbee.contracts.fleet import ModelEntry
from rbee.contracts.operations import (
    HiveDrain,
    HiveOperation,
    ModelDelete,
    ModelDownload,
    ModelGet,
    ModelList,
    WorkerProcessDelete,
    WorkerProcessGet,
    WorkerProcessList,
    WorkerSpawn,
)
from rbee.errors import BadRequest, ModelNotFound
from rbee.hive import placement
from rbee.hive.catalog import Catalog
from rbee.hive.devices import Devices
from rbee.hive.downloads import Downloads
from rbee.hive.launch import Part, Wish
from rbee.hive.parts import check_fits
from rbee.hive.supervisor import Supervisor
from rbee.naming import parse
from rbee.wire.jobs import Job


class Operations:
    """Carries out operations; owns nothing itself."""

    def __init__(
        self,
        hive_id: str,
        config: HiveConfig,
        devices: Devices,
        catalog: Catalog,
        downloads: Downloads,
        supervisor: Supervisor,
    ) -> None:
        self._id = hive_id
        self._config = config
        self._devices = devices
        self._catalog = catalog
        self._downloads = downloads
        self._supervisor = supervisor

    async def run(self, operation: HiveOperation, job: Job) -> Any:
        """The operation's answer; progress goes to the job."""
        match operation:
            case WorkerSpawn():
                return await self.spawn(operation, job)
            case WorkerProcessList():
                return WorkerProcesses(self._id, self._supervisor.view())
            case WorkerProcessGet():
                return self._supervisor.get(operation.worker_id, operation.pid)
            case WorkerProcessDelete():
                return await self.delete(operation)
            case HiveDrain():
                return await self.drain(operation)
            case ModelDownload():
                return await self.download(operation.model, job)
            case ModelList():
                await self._catalog.refresh()
                return ModelEntries(self._id, self._catalog.entries())
            case ModelGet():
                await self._catalog.refresh()
                return self._catalog.find(_one_name(operation))
            case ModelDelete():
                return Deleted(await self._catalog.delete(_one_name(operation)))
            case _:
                assert_never(operation)

    async def spawn(self, operation: WorkerSpawn, job: Job) -> Spawned:
        """Everything that can be refused is refused before a process is started."""
        parse(operation.model)
        self._supervisor.check_room()
        await self._catalog.refresh()
        entry = self._catalog.find_model(operation.model)
        projector, lora = self._projector(operation, entry), self._lora(operation, entry)
        devices = await self._devices.known()
        device = placement.choose(devices, operation.worker, operation.device)
        entry = await self._catalog.identify(entry, partial(_emit, job, "check", "bytes"))
        wish = replace(self._wish(operation, entry, device.id), projector=projector, lora=lora)
        return await self._supervisor.spawn(wish, partial(_emit, job, "load", "percent"))

    async def delete(self, operation: WorkerProcessDelete) -> Deleted:
        drain_s = self._drain_s(operation) if operation.drain else None
        gone = await self._supervisor.delete(operation.worker_id, operation.pid, drain_s)
        return Deleted(gone)

    async def drain(self, operation: HiveDrain) -> Drained:
        """Empty this hive, or open it again."""
        if operation.undo:
            self._supervisor.undo_drain()
            return Drained(self._id, [])
        return Drained(self._id, await self._supervisor.drain(self._drain_s(operation)))

    def _drain_s(self, operation: WorkerProcessDelete | HiveDrain) -> float:
        return self._config.drain_s if operation.drain_s is None else operation.drain_s

    def _wish(self, operation: WorkerSpawn, entry: ModelEntry, device: str) -> Wish:
        asked = operation.gpu_layers
        return Wish(
            worker_id=self._supervisor.new_id(entry.id),
            model_id=entry.id,
            model_file=entry.file,
            sha256=entry.sha256,
            device=device,
            slots=operation.slots or self._config.slots,
            context=operation.context or self._config.context or context_of(entry.context),
            threads=self._config.threads,
            gpu_layers=-1 if asked is None else asked,
        )

    def _projector(self, operation: WorkerSpawn, model: ModelEntry) -> Part | None:
        """The one asked for, else the model's own."""
        if not (name := operation.projector or model.projector):
            return None
        entry = self._catalog.find_part(name, "projector", "$.projector")
        return Part(entry.id, entry.file)

    def _lora(self, operation: WorkerSpawn, model: ModelEntry) -> dict[str, Part]:
        found: dict[str, Part] = {}
        for name, reference in (operation.lora or {}).items():
            path = f"$.lora.{name}"
            entry = self._catalog.find_part(reference, "adapter", path)
            check_fits(entry, model, path)
            found[name] = Part(entry.id, entry.file)
        return found

    async def download(self, name: str, job: Job) -> ModelEntry:
        """The entry; at once when it is here already, for nothing is updated by itself."""
        reference = parse(name)
        await self._catalog.refresh()
        try:
            return self._catalog.find(name)
        except ModelNotFound:
            if not reference.downloadable:
                raise
        result = await self._downloads.fetch(name, job.emit)
        await self._catalog.refresh()
        await self._catalog.adopt(result.get("id", ""), result.get("sha256", ""))
        return self._catalog.find(result.get("id", ""))


def _emit(job: Job, what: str, unit: Unit, done: int, total: int) -> None:
    job.emit(Progress(what=what, done=done, total=total, unit=unit))


def _one_name(operation: ModelGet | ModelDelete) -> str:
    names = {name for name in (operation.model, operation.id) if name is not None}
    if len(names) != 1:
        raise BadRequest("A model is named by model or by id, one of them.", path="$.model")
    return names.pop()
