"""Links that are slow, break, half-close or stall, and a machine whose cable is out.

Between a client and the queen stands a proxy. One between the queen and a stub worker, which can
give a proxy's address for its own, is in `tests/queen/test_migration.py`. A whole machine is lost
when the cable between two network namespaces is cut, where there is root.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rbee.client.asynchronous import AsyncClient
from rbee.client.requests import infer
from rbee.client.sync import Client
from rbee.contracts.events import AnyEvent, Done, Token
from rbee.keeper.chaos.asks import CHAT
from tests.bee.known_answers import ANSWERS
from tests.http import ask, frames
from tests.proxy import Fault, Kind, Proxy, proxied
from tests.system.stack import Stack, chat, fact
from tests.system.test_second_machine import FIRST, SECOND, ip, machines, on

assert machines  # a fixture
LONG: dict[str, Any] = {"operation": "infer", "model": "bee", **CHAT}
ENDLESS: dict[str, Any] = {**LONG, "max_tokens": 1_900}
FREE_S = 2.0


@pytest.fixture(scope="module")
def undisturbed(shared: Stack) -> str:
    """The whole of `LONG`."""
    return heard(shared.client)


def heard(client: Client) -> str:
    """The text of `LONG`."""
    with client.events(infer(None, LONG)) as events:
        return said(events)


def said(events: Any) -> str:
    """The text of a stream that ended well."""
    seen: list[AnyEvent] = list(events)
    assert isinstance(seen[-1], Done), seen[-1]
    indices = [(e.index, len(e.token_ids)) for e in seen if isinstance(e, Token)]
    due = 0
    for index, tokens in indices:
        assert index == due, "a token is missing, or came twice"
        due += tokens
    return "".join(event.text for event in seen if isinstance(event, Token))


def idle(shared: Stack) -> bool:
    status = shared.client.status()
    queue = status.queue
    return not (queue.waiting or queue.leased or any(w.worker.busy for w in status.workers))


@pytest.fixture
def settled(shared: Stack) -> Iterator[Stack]:
    """The shared stack, which nobody uses before or after."""
    fact(lambda: idle(shared), "nothing runs", 30)
    yield shared
    fact(lambda: idle(shared), "nothing is left behind", 30)


def test_a_client_that_is_far_away_hears_the_same(settled: Stack, undisturbed: str) -> None:
    with proxied(settled.queen, delay_s=0.1) as proxy:
        began = time.monotonic()
        assert heard(Client(proxy.url)) == undisturbed
        took = time.monotonic() - began
        answer = ask("POST", f"{proxy.url}/v1/jobs", chat("Hello", stream=False))
        assert answer.json()["choices"][0]["text"] == ANSWERS["Hello"]
    assert 0.2 <= took < 5.0, "a slow link costs a round trip or two, not one for each token"


@pytest.mark.parametrize("kind", ["cut", "half-close"])
@pytest.mark.parametrize("after", [600, 3_000, 12_000])
def test_the_sdk_goes_on_where_a_link_broke(
    settled: Stack, undisturbed: str, kind: Kind, after: int
) -> None:
    with proxied(settled.queen, fault=Fault(kind, after)) as proxy:
        assert heard(Client(proxy.url)) == undisturbed
        assert proxy.faults == 1 and proxy.connections >= 2


@pytest.mark.anyio
async def test_the_awaiting_sdk_does_so_too(settled: Stack, undisturbed: str) -> None:
    with proxied(settled.queen, fault=Fault("cut", 3_000, times=2)) as proxy:
        async with AsyncClient(proxy.url) as client, client.events(infer(None, LONG)) as events:
            assert said([event async for event in events]) == undisturbed
        assert proxy.faults == 2 and proxy.connections >= 3


def test_the_command_line_does_so_too(settled: Stack) -> None:
    with proxied(settled.queen, fault=Fault("cut", 700)) as proxy:
        done = settled.run("infer", "--queen", proxy.url, "What is rbee?")
        assert done.stdout.strip() == ANSWERS["What is rbee?"], done.stderr
        assert done.returncode == 0 and proxy.faults == 1


@pytest.mark.parametrize("stalled_s", [0.5, 3.0])
def test_a_link_that_stalls_and_goes_on_loses_nothing(
    settled: Stack, undisturbed: str, stalled_s: float
) -> None:
    with proxied(settled.queen, fault=Fault("stall", 2_000)) as proxy:

        def end_it() -> None:
            fact(lambda: proxy.faults, "it stalls")
            time.sleep(stalled_s)  # how long is what is tested here
            proxy.resume()

        ending = threading.Thread(target=end_it)
        ending.start()
        try:
            assert heard(Client(proxy.url)) == undisturbed
        finally:
            ending.join(30)
        assert proxy.faults == 1 and proxy.connections == 1


def test_a_plain_client_that_is_cut_off_frees_its_slot(settled: Stack) -> None:
    with proxied(settled.queen) as proxy, closing(asking(proxy, ENDLESS)) as link:
        link.recv(2_000)
        assert not idle(settled)
        proxy.cut()
        fact(lambda: idle(settled), "the slot is free", FREE_S)


def test_a_client_that_closes_only_its_sending_half_has_gone(settled: Stack) -> None:
    with proxied(settled.queen) as proxy, closing(asking(proxy, ENDLESS)) as link:
        link.recv(2_000)
        assert not idle(settled)
        link.shutdown(socket.SHUT_WR)
        fact(lambda: idle(settled), "the slot is free", FREE_S)


@pytest.mark.parametrize("kind", ["cut", "half-close", "stall"])
def test_half_a_request_hurts_nobody(settled: Stack, kind: Kind) -> None:
    fault = Fault(kind, 100, "server")
    with proxied(settled.queen, fault=fault) as proxy, closing(asking(proxy, LONG)):
        fact(lambda: proxy.faults, "half of it has arrived")
        answer = ask("POST", f"{settled.queen}/v1/jobs", chat("Hello", stream=False))
        assert answer.json()["choices"][0]["text"] == ANSWERS["Hello"]


def asking(proxy: Proxy, body: dict[str, Any]) -> socket.socket:
    """A request, sent over a bare socket."""
    parts = urlsplit(proxy.url)
    made = socket.create_connection((parts.hostname, parts.port), 10)
    data = json.dumps(body).encode()
    made.sendall(
        b"POST /v1/jobs HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (parts.netloc.encode(), len(data), data)
    )
    return made


@pytest.mark.slow
def test_a_cable_is_pulled_out_in_the_middle_of_an_answer(
    machines: tuple[str, str],
    tmp_path: Path,
) -> None:
    """The worker's machine is gone without a word; the answer goes on here, on a worker that the
    queen has her own hive start."""
    first, second = machines
    open_ = ("--bind", "0.0.0.0", "--insecure")
    queen = f"http://{FIRST}:7833"
    with (
        on(first, tmp_path / "one", *open_),
        on(second, tmp_path / "two", "--role", "hive", "--queen", queen, "--id", "second", *open_),
    ):
        spawn = {"operation": "worker_spawn", "model": "bee"}
        there = curl(second, f"http://{SECOND}:7835/v1/jobs", spawn)
        undisturbed = curl(first, f"{queen}/v1/jobs", {**LONG, "stream": False})
        assert undisturbed["worker_id"] == there["worker_id"]
        began = time.monotonic()
        seen = pulled(first, second, f"{queen}/v1/jobs", LONG)
        assert time.monotonic() - began < 20.0
        assert seen[-1]["type"] == "done", seen[-1]
        assert seen[-1]["migrations"] == 1, "the answer was over before the cable was out"
        text = "".join(event.get("text", "") for event in seen)
        assert text == undisturbed["choices"][0]["text"]


def curl(machine: str, url: str, body: dict[str, Any]) -> Any:
    command = [*in_(machine), "curl", "-s", "-m", "30", *curl_body(body), url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=40)
    return json.loads(done.stdout)


def in_(machine: str) -> list[str]:
    return ["ip", "netns", "exec", machine]


def curl_body(body: dict[str, Any]) -> list[str]:
    return ["-H", "Content-Type: application/json", "-d", json.dumps(body)]


def pulled(first: str, second: str, url: str, body: dict[str, Any]) -> list[Any]:
    """All events of a stream during which the second machine loses its cable."""
    device = f"v{second.split('-')[1]}b"
    command = [*in_(first), "curl", "-sN", "-m", "60", *curl_body(body), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        lines: list[str] = []
        for line in child.stdout:
            lines.append(line.rstrip("\n"))
            if len(lines) == 30:
                ip("-n", second, "link", "set", device, "down")
        return [event for _, event in frames(lines)]
