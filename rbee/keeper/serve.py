"""`rbee serve`: which role, and which flags that role has. Reads no settings and runs nothing.

A flag belongs to a role when the role's settings have its key, so that `rbee.config` alone knows
keys and bounds. Without a role the flags are those of queen and hive, and each has its own port.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import click

from rbee.errors import Usage

RoleName = Literal["queen", "hive", "worker"]
PORT_FLAGS = {"queen": "queen_port", "hive": "hive_port"}
URL_ENV = {"queen": "RBEE_QUEEN_URL", "hive": "RBEE_HIVE_URL"}


@dataclass(frozen=True)
class Serving:
    """What `rbee serve` was asked for. `given` holds the flags that were really given."""

    role: RoleName | None
    given: Mapping[str, Any]
    config: Path | None = None
    ports: Mapping[str, Any] = field(default_factory=dict)
    """Role to port, when queen and hive share a process."""

    def file(self, role: str) -> Path:
        """Where `role`'s settings are; only an explicit file must exist."""
        from rbee import paths

        return self.config or paths.config_dir() / f"{role}.toml"

    def flags(self, role: str) -> dict[str, Any]:
        """The flags that `role`'s settings have."""
        own = {k: v for k, v in self.given.items() if k in keys(role)}
        return {**own, "port": self.ports[role]} if role in self.ports else own


def keys(role: str) -> frozenset[str]:
    """The settings of a role."""
    from rbee import config

    kinds: dict[str, type[config.Common]] = {
        "queen": config.QueenConfig,
        "hive": config.HiveConfig,
        "worker": config.WorkerConfig,
    }
    return frozenset(kinds[role].__struct_fields__)


def _flags(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = [
    click.option("--role", type=click.Choice(["queen", "hive", "worker"]), help="Left out: both."),
    click.option("--config", type=click.Path(path_type=Path), help="The role's settings (TOML)."),
    click.option("--bind", metavar="ADDR", help="Address to listen on; 127.0.0.1 unless told."),
    click.option("--port", metavar="N", help="Port of the role; 0 takes any free one."),
    click.option("--queen-port", metavar="N", help="No role: the queen's port."),
    click.option("--hive-port", metavar="N", help="No role: the hive's port."),
    click.option("--insecure", is_flag=True, help="Allow an address that others can reach."),
    click.option("--allowed-host", "allowed_hosts", multiple=True, help="Further Host name."),
    click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error."),
    click.option("--queen", metavar="URL[,URL]", help="hive, worker: whom to send heartbeats."),
    click.option("--id", metavar="NAME", help="hive, worker: its name in the fleet."),
    click.option("--models-dir", metavar="DIR", help="hive: where GGUF files lie."),
    click.option("--slots", metavar="N", help="hive, worker: requests answered at a time."),
    click.option("--ctx", "--context", "context", metavar="N", help="hive, worker: tokens a slot."),
    click.option("--threads", metavar="N", help="hive, worker: 0 takes the physical cores."),
    click.option("--model", metavar="FILE", help="worker: a GGUF file, or a model's id."),
    click.option("--model-id", metavar="ID", help="worker: how the model is called."),
    click.option("--sha256", metavar="HEX", help="worker: the file's, when known."),
    click.option("--hive-id", metavar="NAME", help="worker: the hive that started it."),
    click.option("--hive", metavar="URL", help="worker: that hive's address."),
    click.option("--hive-grace-s", metavar="S", help="hive, worker: it lives on without it."),
    click.option("--drain-s", metavar="S", help="What runs may take that long at the end."),
    click.option("--device", metavar="NAME", help="worker: cpu, metal or cuda:N."),
    click.option("--gpu-layers", metavar="N", help="worker: -1 puts all on the device."),
    click.option("--projector", metavar="FILE", help="worker: what lets it see (mmproj)."),
    click.option("--lora", multiple=True, metavar="NAME=FILE", help="worker: an adapter."),
    click.option("--kv-tokens", metavar="N", help="hive, worker: memory slots share."),
    click.option("--speculate-tokens", metavar="N", help="hive, worker: guessed a step."),
    click.option("--batch-tokens", metavar="N", help="hive, worker: tokens of a step."),
    click.option("--queue-limit", metavar="N", help="queen, worker: requests that may wait."),
    click.option("--port-from", metavar="N", help="worker: the first free port from here."),
    click.option("--parent", metavar="PID", help="worker: dies with this process while loading."),
]


@click.command()
@_flags
@click.pass_obj
def serve(
    run: Callable[[Serving], None],
    /,
    role: RoleName | None,
    config: Path | None,
    queen_port: str | None,
    hive_port: str | None,
    **flags: Any,
) -> None:
    """Run a role in the foreground; without --role a queen and a hive together.

    Without --role the ports are --queen-port and --hive-port, else those of RBEE_QUEEN_URL and
    RBEE_HIVE_URL, else the configured ones.
    """
    given = {k: v for k, v in flags.items() if v not in (None, (), False)}
    config = config or _from_env("RBEE_CONFIG")
    if config is not None and (config.is_dir() or not config.exists()):
        raise Usage(f"There is no settings file {config}.")
    ports = {"queen": queen_port, "hive": hive_port}
    if role is None:
        run(_both(given, config, ports))
    else:
        run(_one(role, given, config, ports))


def _one(
    role: RoleName, given: dict[str, Any], config: Path | None, ports: dict[str, str | None]
) -> Serving:
    if any(port is not None for port in ports.values()):
        raise Usage(f"With --role {role} the port is --port.")
    _only(given, keys(role), f"a {role}")
    return Serving(role, given, config)


def _both(given: dict[str, Any], config: Path | None, ports: dict[str, str | None]) -> Serving:
    if config is not None:
        raise Usage(
            "One settings file cannot be that of two roles.",
            hint="name one with --role, or put queen.toml and hive.toml into the config folder",
        )
    if "port" in given:
        raise Usage(
            "Queen and hive together need two ports.",
            hint="use --queen-port and --hive-port, or name one with --role",
        )
    if "RBEE_PORT" in os.environ:
        raise Usage(
            "RBEE_PORT is one port for every role, and queen and hive together need two.",
            hint="unset it and use --queen-port and --hive-port, or name one role with --role",
        )
    _only(given, (keys("queen") | keys("hive")) - {"port", "queen"}, "a queen and hive together")
    chosen = {r: p if p is not None else _port_in_env(r) for r, p in ports.items()}
    return Serving(None, given, None, {r: p for r, p in chosen.items() if p is not None})


def _only(given: dict[str, Any], known: frozenset[str], whose: str) -> None:
    for key in given:
        if key not in known:
            flag = {"context": "ctx", "allowed_hosts": "allowed-host"}.get(key, key)
            raise Usage(
                f"--{flag.replace('_', '-')} is no flag of {whose}.",
                hint="rbee serve --help tells which role has which",
            )


def _port_in_env(role: str) -> int | None:
    """Of the first address, where there are several: it is this machine's."""
    url = os.environ.get(URL_ENV[role], "").partition(",")[0].strip()
    try:
        return urlsplit(url).port
    except ValueError as exc:
        raise Usage(f"{URL_ENV[role]} is {url!r}: {exc}.") from exc


def _from_env(name: str) -> Path | None:
    text = os.environ.get(name, "")
    return Path(text) if text else None
