"""`rbee infer` and `rbee chat` in front of a scripted queen."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.client.frail import Fault, frail, log
from tests.client.stub import Stub, done, free_ports, problem, stream, stub, token, whole
from tests.keeper.command import Rbee, local

HELLO = (token("Hel"), token("lo", 1), done())


@pytest.fixture
def rbee(tmp_path: Path) -> Rbee:
    return local(tmp_path)


def before(rbee: Rbee, server: Stub) -> Rbee:
    return Rbee(rbee.home, server.url, rbee.hive)


def test_tokens_to_stdout_and_nothing_else(rbee: Rbee) -> None:
    waiting = {"type": "queued", "position": 1, "eta_s": None}
    with stub(stream(waiting, *HELLO)) as server:
        told = before(rbee, server)("infer", "Hi there", "--max-tokens", "9", "--stop", "X")
    assert (told.code, told.out, told.err) == (0, "Hello\n", "")
    body = server.asked[0].json()
    assert body == {
        "operation": "infer",
        "model": "bee",
        "messages": [{"role": "user", "content": "Hi there"}],
        "max_tokens": 9,
        "stop": ["X"],
    }


def test_stdin_system_raw_and_schema(rbee: Rbee, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    with stub(stream(*HELLO), stream(*HELLO)) as server:
        run = before(rbee, server)
        run(
            "infer", "-", "--system", "Be brief.", "--json-schema", str(schema), stdin="From a pipe"
        )
        run("infer", "Once upon", "--raw", "-m", "org/other:Q8_0")
    chat, raw = (asked.json() for asked in server.asked)
    assert [m["content"] for m in chat["messages"]] == ["Be brief.", "From a pipe"]
    assert chat["json_schema"] == {"type": "object"}
    assert (raw["prompt"], raw["model"]) == ("Once upon", "org/other:Q8_0")


def test_json_prints_the_events_untouched(rbee: Rbee) -> None:
    strange = {**token("x"), "from_a_newer_queen": [1, 2]}
    with stub(stream(strange, done())) as server:
        told = before(rbee, server)("infer", "Hi", "--json")
    assert [json.loads(line) for line in told.out.splitlines()] == [strange, done()]


def test_json_tells_every_event_once_over_a_break(rbee: Rbee) -> None:
    events = log(["a", "b", "c"])
    with frail(events, Fault("cut", 2), Fault("draining"), Fault("reset", 1)) as queen:
        told = Rbee(rbee.home, queen.url, rbee.hive)("infer", "Hi", "--json")
    assert (told.code, told.err) == (0, "")
    assert [json.loads(line) for line in told.out.splitlines()] == events


def test_an_answer_that_moved_is_an_answer(rbee: Rbee) -> None:
    moved = {"type": "moved", "worker_id": "w", "why": "killed", "migrations": 1}
    with stub(stream(token("a"), moved, token("b", 1), done(migrations=1))) as server:
        told = before(rbee, server)("infer", "Hi")
    assert (told.code, told.out, told.err) == (0, "ab\n", "")


def test_another_queen_of_several_answers(rbee: Rbee) -> None:
    [port] = free_ports(1)
    with frail(log(["a"])) as queen:
        several = f"http://127.0.0.1:{port},{queen.url}"
        told = Rbee(rbee.home, several, rbee.hive)("infer", "Hi")
    assert (told.code, told.out, told.err) == (0, "a\n", "")


def test_a_failure_in_the_middle(rbee: Rbee) -> None:
    failed = {"type": "failed", "code": "worker_gone", "message": "It died.", "hint": "Ask again."}
    with stub(stream(token("ha"), failed)) as server:
        told = before(rbee, server)("infer", "Hi")
    assert (told.code, told.out) == (1, "ha\n")
    assert told.err == "rbee: It died.\nhint: Ask again.\n"


def test_an_error_answer(rbee: Rbee) -> None:
    with stub(whole(problem("model_not_found", "No model 'x' here. Known: bee."), 404)) as server:
        told = before(rbee, server)("infer", "Hi", "-m", "x")
    assert (told.code, told.err) == (1, "rbee: No model 'x' here. Known: bee.\n")


def test_ctrl_c_cancels_by_leaving(rbee: Rbee) -> None:
    with stub(stream(token("one"), end=False, hold=True)) as server:
        with before(rbee, server).running("infer", "Hi") as child:
            assert child.stdout is not None
            assert os.read(child.stdout.fileno(), 3) == b"one"
            child.send_signal(signal.SIGINT)
            assert child.wait(10) == 130
            assert child.stderr is not None
            assert b"Traceback" not in child.stderr.read()
        assert server.left.wait(10)
    assert server.asked[0].headers["x-rbee-grace-s"] == "30"
    assert server.deleted == ["/v1/jobs/job-1"]


def test_a_closed_pipe_ends_quietly(rbee: Rbee) -> None:
    many = [token(f"line {n}\n", n) for n in range(5_000)]
    with (
        stub(stream(*many, done())) as server,
        before(rbee, server).running("infer", "Hi") as child,
    ):
        assert child.stdout is not None and child.stderr is not None
        os.read(child.stdout.fileno(), 4)
        child.stdout.close()
        assert child.wait(20) == 0
        assert child.stderr.read() == b""
        child.stdout = None


def test_a_chat_remembers_resets_and_leaves(rbee: Rbee) -> None:
    with stub(stream(*HELLO), stream(*HELLO), stream(*HELLO)) as server:
        told = before(rbee, server)("chat", stdin="One\n\nTwo\n/reset\nThree\n/exit\nFour\n")
    assert (told.code, told.out, told.err) == (0, "Hello\nHello\nHello\n", "")
    said = [[m["content"] for m in asked.json()["messages"]] for asked in server.asked]
    assert said == [["One"], ["One", "Hello", "Two"], ["Three"]]


def test_a_chat_goes_on_over_a_break_and_remembers_the_whole_answer(rbee: Rbee) -> None:
    events = log(["a", "b", "c"])
    with frail(events, Fault("cut", 2), Fault("draining"), Fault("reset", 1)) as queen:
        told = Rbee(rbee.home, queen.url, rbee.hive)("chat", stdin="One\nTwo\n")
    assert (told.code, told.out, told.err) == (0, "abc\nabc\n", "")
    bodies = [asked.json() for asked in queen.asked if asked.method == "POST"]
    said = [[m["content"] for m in body["messages"]] for body in bodies]
    assert said == [["One"], ["One", "abc", "Two"]]


def test_a_chat_asks_as_infer_does(rbee: Rbee, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}')
    asked = ["--min-p", "0.1", "--stop", "X", "--stop", "Y", "--lora", "style"]
    where = ["--worker-id", "w", "--hive-id", "h", "--device", "cpu"]
    flags = [*asked, *where, "--json-schema", str(schema)]
    with stub(stream(*HELLO), stream(*HELLO)) as server:
        before(rbee, server)("chat", *flags, stdin="Hi\n")
        before(rbee, server)("infer", "Hi", *flags)
    chat, infer = (asked.json() for asked in server.asked)
    assert chat == infer
    assert (chat["stop"], chat["min_p"], chat["lora"]) == (["X", "Y"], 0.1, "style")


def test_a_question_that_failed_is_not_remembered(rbee: Rbee) -> None:
    late = whole(problem("overloaded", "Too many wait."), 429)
    with stub(late, stream(*HELLO)) as server:
        told = before(rbee, server)("chat", stdin="One\nTwo\n")
    assert (told.code, told.out, told.err) == (1, "Hello\n", "rbee: Too many wait.\n")
    assert [m["content"] for m in server.asked[1].json()["messages"]] == ["Two"]


def test_a_queen_elsewhere_is_not_started_here(rbee: Rbee) -> None:
    told = Rbee(rbee.home, "http://[100::1]:7833", rbee.hive)("infer", "Hi")
    assert told.code == 1
    assert "starting" not in told.err


@pytest.mark.parametrize("command", [("infer", "Hi"), ("chat",)])
def test_an_address_given_by_the_flag_starts_nothing(rbee: Rbee, command: tuple[str, ...]) -> None:
    told = rbee(*command, "--queen", rbee.queen, stdin="Hi\n")
    first, second = told.err.splitlines()
    assert told.code == 1
    assert first.startswith(f"rbee: Nothing answers at {rbee.queen}")
    assert second == "hint: check --queen, or start one there with: rbee up"
    assert not (rbee.home / "state").exists()


def test_a_chat_with_a_model_nobody_has_fails_before_the_first_question(fleet: Rbee) -> None:
    told = fleet("chat", "-m", "nope.gguf")
    assert told.code == 1
    assert told.err.startswith("rbee: No model 'nope.gguf' here. Known: bee.\n")
