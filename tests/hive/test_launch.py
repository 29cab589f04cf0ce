"""How a worker is called, what it inherits, what its lines mean."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee import config
from rbee.config import HiveConfig
from rbee.errors import BadModelFile, Late, SpawnFailed, Upstream
from rbee.hive.identity import Identity, host_id
from rbee.hive.launch import (
    Owner,
    Part,
    Said,
    Wish,
    arguments,
    environment,
    port_of,
    understand,
)
from rbee.hive.tail import LINE_CHARS, LINES, LineReader, Tail
from rbee.keeper import cli
from rbee.keeper.serve import Serving

WISH = Wish("bee-1a2b", "bee", "/models/a b;c.gguf", "ab" * 32, "cuda:0", slots=4, context=2_048)

DESK = Owner("desk", "http://127.0.0.1:7835")


def value(argv: list[str], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_the_arguments_are_a_list_that_no_shell_reads() -> None:
    argv = arguments(WISH, HiveConfig(queen="http://10.0.0.1:7833"), DESK, parent=42)
    assert argv[1:7] == ["-P", "-m", "rbee.main", "serve", "--role", "worker"]
    assert value(argv, "--model") == "/models/a b;c.gguf"
    assert (value(argv, "--device"), value(argv, "--parent")) == ("cuda:0", "42")
    assert (value(argv, "--ctx"), value(argv, "--queen")) == ("2048", "http://10.0.0.1:7833")
    assert (value(argv, "--hive-id"), value(argv, "--hive")) == (DESK.id, DESK.url)
    assert "--threads" not in argv
    assert "--insecure" not in argv


def test_adapters_and_the_projector_are_named_by_their_files() -> None:
    wish = replace(
        WISH,
        projector=Part("o/r/mmproj.gguf", "/models/o/r/mmproj.gguf"),
        lora={"style": Part("s.gguf", "/models/s.gguf"), "law": Part("l.gguf", "/models/l.gguf")},
    )
    argv = arguments(wish, HiveConfig(), DESK, parent=42)
    assert value(argv, "--projector") == "/models/o/r/mmproj.gguf"
    named = [argv[n + 1] for n, flag in enumerate(argv) if flag == "--lora"]
    assert named == ["style=/models/s.gguf", "law=/models/l.gguf"]
    assert wish.ids == ["bee", "o/r/mmproj.gguf", "s.gguf", "l.gguf"]
    assert not {"--projector", "--lora"} & {*arguments(WISH, HiveConfig(), DESK, parent=42)}


def test_a_hive_open_to_the_network_has_workers_that_are() -> None:
    argv = arguments(WISH, HiveConfig(bind="0.0.0.0", insecure=True), DESK, parent=42)
    assert value(argv, "--bind") == "0.0.0.0"
    assert "--insecure" in argv


def test_a_worker_gets_no_token_and_none_of_the_hives_settings() -> None:
    env = {
        "PATH": "/bin",
        "HF_TOKEN": "secret",
        "HF_HOME": "/x",
        "HUGGING_FACE_HUB_TOKEN": "secret",
        "HUGGINGFACE_TOKEN": "secret",
        "RBEE_HOME": "/home",
        "RBEE_PORT": "7835",
        "RBEE_ID": "desk",
        "RBEE_MODELS_DIR": "/models",
        "RBEE_CONFIG": "/etc/hive.toml",
        "RBEE_LORA": "style=/s.gguf",
        "RBEE_PROJECTOR": "/eye.gguf",
        "RBEE_BATCH_TOKENS": "64",
        "RBEE_KV_TOKENS": "nonsense",
        "RBEE_SPECULATE_TOKENS": "8",
        "RBEE_QUEUE_LIMIT": "1",
        "RBEE_MODEL": "other.gguf",
        "RBEE_LOG_LEVEL": "error",
    }
    kept = environment(env, HiveConfig(log_level="debug", allowed_hosts=("a", "b")))
    assert "secret" not in kept.values()
    assert {k for k in kept if not k.startswith("RBEE_")} == {"PATH"}
    assert kept["RBEE_HOME"] == "/home"
    loaded = config.load(config.WorkerConfig, None, kept)
    assert loaded == config.WorkerConfig(log_level="debug", allowed_hosts=("a", "b"))


def understood(argv: list[str]) -> config.WorkerConfig:
    """What the worker's own command line makes of the arguments, with no environment."""
    asked: list[Serving] = []
    assert cli.run(argv[4:], asked.append) == 0
    file, flags = asked[0].file("worker"), asked[0].flags("worker")
    return config.load(config.WorkerConfig, file, {}, flags)


def test_a_worker_knows_how_long_to_live_on_and_to_drain() -> None:
    settings = HiveConfig(hive_grace_s=7.5, drain_s=90, queen="http://a:1,http://b:2")
    made = understood(arguments(WISH, settings, DESK, parent=42))
    assert (made.hive, made.hive_grace_s, made.drain_s) == (DESK.url, 7.5, 90)
    assert config.queens(made.queen) == ["http://a:1", "http://b:2"]


def test_a_workers_memory_and_steps_are_the_hives_settings() -> None:
    settings = HiveConfig(kv_tokens=9_000, speculate_tokens=4, batch_tokens=64)
    made = understood(arguments(WISH, settings, DESK, parent=42))
    assert (made.kv_tokens, made.speculate_tokens, made.batch_tokens) == (9_000, 4, 64)
    made, default = understood(arguments(WISH, HiveConfig(), DESK, 42)), config.WorkerConfig()
    for key in ("kv_tokens", "speculate_tokens", "batch_tokens", "queue_limit"):
        assert getattr(made, key) == getattr(default, key)


@pytest.mark.parametrize("text", ["port = 1\nkv_tokens = 5000", "nonsense = 1", "port ="])
def test_a_hives_worker_reads_no_settings_file(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in `worker.toml`."""
    monkeypatch.setenv("RBEE_HOME", str(tmp_path))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "worker.toml").write_text(text, "utf-8")
    made = understood(arguments(WISH, HiveConfig(), DESK, parent=42))
    assert (made.port, made.kv_tokens) == (None, 0)


def test_lines_that_mean_something() -> None:
    assert understand("progress 40 100") == Said("progress", done=40, total=100)
    assert understand("ready http://127.0.0.1:8081") == Said("ready", url="http://127.0.0.1:8081")
    said = understand('failed {"code":"bad_model_file","message":"No.","param":"model"}')
    assert said is not None
    assert isinstance(said.error, BadModelFile)
    assert said.error.path == "$.model"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "progress",
        "progress 1",
        "progress x y",
        "progress -1 5",
        "progress 1 " + "9" * 99,
        "ready",
        "ready soon",
        "ready http://[",
        "ready http://h:99999",
        "llama_model_loader: ready",
    ],
)
def test_lines_that_mean_nothing(line: str) -> None:
    assert understand(line) is None


def test_failures_that_cannot_be_read_are_failures_all_the_same() -> None:
    for rest in ("", "oops", "{}", "[1]"):
        said = understand(f"failed {rest}")
        assert said is not None
        assert isinstance(said.error, SpawnFailed)
    said = understand('failed {"code":"from_the_future","message":"m"}')
    assert said is not None
    assert isinstance(said.error, Upstream)
    said = understand('failed {"code":"deadline_exceeded","message":"m"}')
    assert said is not None
    assert isinstance(said.error, Late)


@given(st.text(max_size=200))
def test_any_line_is_understood_or_not(line: str) -> None:
    understand(line)
    understand(f"ready {line}")
    understand(f"failed {line}")
    assert port_of(line) >= 0


def test_the_tail_is_bounded_and_printable() -> None:
    tail, lines = Tail(), LineReader()
    for line in lines.feed(b"".join(b"line %d\n" % n for n in range(500))):
        tail.add(line)
    assert len(tail.lines()) == LINES
    assert tail.last(2) == "line 498 | line 499"
    for line in lines.feed(b"\x1b[31mred\x07" + b"x" * 10_000 + b"\n"):
        tail.add(line)
    last = tail.lines()[-1]
    assert "\x1b" not in last
    assert len(last) <= LINE_CHARS + 3


def test_the_cause_is_the_first_error_logged() -> None:
    tail = Tail()
    assert tail.first_error() == ""
    for line in ("x INFO    worker: hello", "x ERROR   worker: a: b", "x ERROR   worker: then"):
        tail.add(line)
    assert tail.first_error() == "a: b"


def test_lives_are_told_apart() -> None:
    tail = Tail()
    tail.begin(1)
    tail.add("x ERROR   worker: old")
    tail.begin(2)
    tail.add("new")
    assert tail.lines() == ["x ERROR   worker: old", "--- process 2 ---", "new"]
    assert tail.first_error() == ""
    for n in range(200):
        tail.begin(n)
        tail.add("again")
    assert len(tail.lines()) == LINES


@given(st.lists(st.binary(max_size=50), max_size=30))
def test_lines_come_out_however_the_pipe_cut_them(chunks: list[bytes]) -> None:
    reader, whole = LineReader(), LineReader()
    cut = [line for chunk in chunks for line in reader.feed(chunk)] + list(reader.rest())
    assert cut == [*whole.feed(b"".join(chunks)), *whole.rest()]


def test_a_line_without_end_is_cut() -> None:
    reader = LineReader()
    assert sum(len(line) for line in reader.feed(b"x" * 200_000)) > 0
    assert list(reader.rest()) == []


@pytest.mark.parametrize(
    ("hostname", "expected"),
    [
        ("desk", "desk"),
        ("Anna's MacBook.local", "Anna-s-MacBook"),
        ("-_.", "hive"),
        ("", "hive"),
        ("x" * 99, "x" * 64),
        ("mönch", "m-nch"),
    ],
)
def test_a_hive_is_called_after_its_machine(hostname: str, expected: str) -> None:
    assert host_id(hostname) == expected


def test_a_hive_answers_to_its_name_and_to_localhost() -> None:
    identity = Identity("desk", "http://127.0.0.1:7835")
    for name in (None, "desk", "localhost"):
        identity.check(name)
