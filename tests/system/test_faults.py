"""Processes die, clients leave, files are broken: what the others see of it."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rbee.contracts.events import Done, Moved, Token
from rbee.contracts.fleet import WorkerProcess
from tests.bee.known_answers import ANSWERS, STORY
from tests.http import Answer, ask
from tests.processes import ROOT
from tests.system.stack import (
    RBEE,
    Stack,
    alive,
    chat,
    environment,
    fact,
    free_ports,
    kill,
    role,
    stack,
)

BEE = ROOT / "rbee" / "bee" / "bee.gguf"
ENDLESS: dict[str, Any] = {"logit_bias": {"0": -100, "2": -100}}
"""Forbids bee's end tokens: it goes on until its context is full, some 2,000 tokens later."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path) as made:
        yield made


def said(answer: Answer) -> str:
    return "".join(e.get("text", "") for e in answer.events)


def only_worker(stack: Stack) -> WorkerProcess:
    return fact(
        lambda: next((w for w in stack.client.workers() if w.state == "ready"), None),
        "a worker is ready",
    )


def busy(stack: Stack) -> int:
    return sum(w.worker.busy + w.leased for w in stack.client.status().workers)


def test_a_worker_killed_in_mid_stream_is_gone_on_from(own: Stack) -> None:
    """Its hive starts it again: the text is the same, and no character is missing or said twice."""
    ask("POST", f"{own.queen}/v1/jobs", chat("Hello"))
    whole = own.client.infer(STORY, model="bee")
    victim = only_worker(own)
    assert victim.pid is not None
    with own.client.stream(STORY, model="bee") as events:
        seen = []
        for event in events:
            seen.append(event)
            if isinstance(event, Token) and alive(victim.pid):
                kill(victim.pid)  # at its first word, for it says the rest in half a second
    last = seen[-1]
    assert isinstance(last, Done) and last.migrations == 1
    assert any(isinstance(event, Moved) for event in seen)
    text = "".join(event.text for event in seen if isinstance(event, Token))
    assert text == whole.choices[0].text
    again = ask("POST", f"{own.queen}/v1/jobs", chat("Hello"))
    assert said(again) == ANSWERS["Hello"]


def test_an_answer_outlives_its_hive_and_the_next_hive_owns_the_worker(tmp_path: Path) -> None:
    queen, hive = free_ports(2)
    env = environment(tmp_path, queen, hive)
    flags = ("--port", str(hive), "--queen", env["RBEE_QUEEN_URL"])
    with role("queen", env, "--port", str(queen)):
        made = Stack(env["RBEE_QUEEN_URL"], env["RBEE_HIVE_URL"], tmp_path, env)
        with role("hive", env, *flags) as killed:
            fact(lambda: made.client.status().hives, "the hive is known")
            before = made.client.spawn("bee")
            fact(lambda: made.client.status().workers, "the worker is known")
            long = {"max_tokens": 300, "ignore_eos": True}
            with made.client.stream("bee", model="bee", **long) as events:
                seen = []
                for event in events:
                    seen.append(event)
                    if killed.child.poll() is None:
                        killed.kill()
            last = seen[-1]
            assert isinstance(last, Done) and last.usage.completion_tokens == 300
            assert said(ask("POST", f"{made.queen}/v1/jobs", chat("Hello"))) == ANSWERS["Hello"]
        with role("hive", env, *flags):
            (after,) = made.client.workers()
            assert (after.worker_id, after.pid, after.url, after.state) == (
                before.worker_id,
                before.pid,
                before.url,
                "ready",
            )
            assert said(ask("POST", f"{made.queen}/v1/jobs", chat("Hello"))) == ANSWERS["Hello"]
        fact(lambda: not alive(before.pid), "the worker is gone with the hive", 2)


def test_no_worker_outlives_the_grace_of_its_hive(tmp_path: Path) -> None:
    queen, hive = free_ports(2)
    env = environment(tmp_path, queen, hive, RBEE_HIVE_GRACE_S="1")
    with role("queen", env, "--port", str(queen)):
        made = Stack(env["RBEE_QUEEN_URL"], env["RBEE_HIVE_URL"], tmp_path, env)
        flags = ("--port", str(hive), "--queen", env["RBEE_QUEEN_URL"])
        with role("hive", env, *flags) as killed:
            fact(lambda: made.client.status().hives, "the hive is known")
            pids = [made.client.spawn("bee").pid for _ in range(2)]
            killed.kill()
        assert all(map(alive, pids))
        fact(lambda: not any(map(alive, pids)), "the workers are gone", 6)
        with role("hive", env, *flags):
            answer = ask("POST", f"{made.queen}/v1/jobs", chat("Hello"))
            assert said(answer) == ANSWERS["Hello"]


def test_a_client_that_leaves_frees_its_slot(own: Stack) -> None:
    ask("POST", f"{own.queen}/v1/jobs", chat("Hello"))
    with own.client.stream("bee", model="bee", **ENDLESS) as events:
        for number, _ in enumerate(events):
            if number == 5:
                break
    (worker,) = own.client.status().workers

    def status() -> Any:
        return ask("GET", f"{worker.worker.url}/v1/status").json()

    fact(lambda: status()["busy"] == 0, "the slot is free")
    assert status()["context"] > 1_500
    assert status()["step"] < 1_500, "it went on to the end of its context"
    fact(lambda: busy(own) == 0, "the queen knows it")


@pytest.mark.parametrize("damage", ["truncated", "text", "architecture"])
def test_a_broken_file_harms_nobody_else(own: Stack, damage: str) -> None:
    whole = BEE.read_bytes()
    made = {
        "truncated": whole[: len(whole) // 2],
        "text": b"this is no model" * 100,
        "architecture": whole.replace(b"llama", b"lluma"),
    }[damage]
    (own.home / "models").mkdir(exist_ok=True)
    (own.home / "models" / "broken.gguf").write_bytes(made)
    good = own.client.spawn("bee")
    spawn = ask(
        "POST", f"{own.hive}/v1/jobs", {"operation": "worker_spawn", "model": "broken.gguf"}
    )
    assert 400 <= spawn.status < 600
    assert spawn.json()["error"]["message"]
    infer = ask("POST", f"{own.queen}/v1/jobs", {**chat("Hello"), "model": "broken.gguf"})
    assert infer.status >= 400 or infer.events[-1]["type"] == "failed"
    assert alive(good.pid)
    assert said(ask("POST", f"{own.queen}/v1/jobs", chat("Hello"))) == ANSWERS["Hello"]


@pytest.mark.parametrize("name", ["../bee", "/etc/passwd", "a/../../b", "be\0e", "x" * 10_000])
def test_hostile_model_names_are_refused(shared: Stack, name: str) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [(shared.queen, {**chat("Hello"), "model": name})]
    operations = ("worker_spawn", "model_get", "model_delete", "model_download")
    asked += [(shared.hive, {"operation": o, "model": name}) for o in operations]
    for url, body in asked:
        answer = ask("POST", f"{url}/v1/jobs", body)
        assert answer.status in (400, 422), (body["operation"], answer.body)
        assert answer.json()["error"]["param"] == "model"


def test_bee_is_never_deleted(shared: Stack) -> None:
    answer = ask("POST", f"{shared.hive}/v1/jobs", {"operation": "model_delete", "model": "bee"})
    assert answer.status == 409
    assert answer.json()["error"]["code"] == "model_protected"


def test_unknown_names_say_what_is_known(shared: Stack) -> None:
    model = ask("POST", f"{shared.queen}/v1/jobs", {**chat("Hello"), "model": "unknown"})
    assert model.status == 404
    assert "bee" in model.json()["error"]["message"] and model.json()["error"]["hint"]
    hive = ask("POST", f"{shared.queen}/v1/jobs", {**chat("Hello"), "hive_id": "nobody"})
    assert hive.status == 404 and hive.json()["error"]["code"] == "hive_not_found"
    other = ask("POST", f"{shared.hive}/v1/jobs", {"operation": "model_list", "hive_id": "nobody"})
    assert other.status == 421 and shared.hive in other.json()["error"]["message"]
    lifecycle = ask("POST", f"{shared.queen}/v1/jobs", {"operation": "model_list"})
    assert lifecycle.status == 421 and shared.hive in str(lifecycle.json()["error"])


def test_a_prompt_longer_than_the_context_names_both_numbers(shared: Stack) -> None:
    ask("POST", f"{shared.queen}/v1/jobs", chat("Hello"))
    answer = ask("POST", f"{shared.queen}/v1/jobs", chat("word " * 3_000))
    assert answer.status == 400
    error = answer.json()["error"]
    assert error["code"] == "context_length_exceeded"
    asked, context = map(int, re.findall(r"\d+", error["message"]))
    assert asked > 3_000 and context == 2_048


def test_an_unreachable_hub_is_told_quickly(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with stack(tmp_path, HF_ENDPOINT=f"http://127.0.0.1:{port}") as made:
        body = {**chat("Hello"), "model": "some/repo"}
        answer = ask("POST", f"{made.queen}/v1/jobs", body, timeout_s=10)
        error = answer.json()["error"] if answer.status >= 400 else answer.events[-1]
        assert error["code"] == "hub_failed"


def test_a_port_in_use_is_one_clear_line(shared: Stack) -> None:
    port = shared.queen.rpartition(":")[2]
    done = shared.run("serve", "--role", "queen", "--port", port)
    assert done.returncode == 1
    assert f"Port {port}" in done.stderr and "hint:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["queen", "hive", "worker"])
def test_the_network_stays_closed(shared: Stack, name: str) -> None:
    model = ["--model", "bee"] if name == "worker" else []
    done = shared.run("serve", "--role", name, "--bind", "0.0.0.0", "--port", "0", *model)
    assert done.returncode == 2
    assert "--insecure" in done.stderr


def test_every_role_knows_its_own_names_only(shared: Stack) -> None:
    ask("POST", f"{shared.queen}/v1/jobs", chat("Hello"))
    worker = shared.client.status().workers[0].worker.url
    for url in (shared.queen, shared.hive, worker):
        assert ask("GET", f"{url}/health", headers={"Host": "evil.example"}).status == 403
        assert ask("GET", f"{url}/health", headers={"Host": "localhost"}).status == 200
        page = ask("GET", f"{url}/")
        assert page.status == 200 and b"<html" in page.body.lower()


def test_two_instances_do_not_disturb_each_other(tmp_path: Path) -> None:
    stacks = []
    for home in (tmp_path / "one", tmp_path / "two"):
        home.mkdir()
        queen, hive = free_ports(2)
        env = environment(home, queen, hive)
        stacks.append(Stack(env["RBEE_QUEEN_URL"], env["RBEE_HIVE_URL"], home, env))
    try:
        for made in stacks:
            done = made.run("infer", "Hello")
            assert done.stdout.strip() == ANSWERS["Hello"], done.stderr
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert stacks[0].run("down").returncode == 0
        assert stacks[1].run("infer", "Hello").stdout.strip() == ANSWERS["Hello"]
        assert stacks[0].run("status").returncode != 0
    finally:
        for made in stacks:
            made.run("down")


def test_ctrl_c_cancels_the_generation(own: Stack) -> None:
    ask("POST", f"{own.queen}/v1/jobs", chat("Hello"))
    worker = own.client.status().workers[0].worker.url
    command = [*RBEE, "infer", "--raw", "The capital of France is"]
    with subprocess.Popen(command, env=own.env, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        child.send_signal(signal.SIGINT)
        child.stdout.read()
        assert child.wait(10) == 130
    fact(lambda: ask("GET", f"{worker}/v1/status").json()["busy"] == 0, "the slot is free")
    assert ask("GET", f"{worker}/v1/status").json()["step"] < 1_900
