"""Settings: who wins over whom, and that every mistake is told with its source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbee.config import HiveConfig, QueenConfig, WorkerConfig, load, queens
from rbee.errors import Usage


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "queen.toml"


def test_defaults_alone(file: Path) -> None:
    assert load(QueenConfig, file, {}) == QueenConfig()
    assert load(QueenConfig, None, {}) == QueenConfig()
    assert load(HiveConfig, None, {}) == HiveConfig()
    assert load(WorkerConfig, None, {}) == WorkerConfig()


@given(
    in_file=st.none() | st.integers(1, 65535),
    in_env=st.none() | st.integers(1, 65535),
    in_flags=st.none() | st.integers(1, 65535),
)
def test_defaults_then_file_then_environment_then_flags(
    tmp_path_factory: pytest.TempPathFactory,
    in_file: int | None,
    in_env: int | None,
    in_flags: int | None,
) -> None:
    path = tmp_path_factory.getbasetemp() / "precedence.toml"
    path.write_text("" if in_file is None else f"port = {in_file}\n")
    env = {} if in_env is None else {"RBEE_PORT": str(in_env)}
    made = load(QueenConfig, path, env, {"port": in_flags})
    given_ones = [v for v in (in_flags, in_env, in_file, QueenConfig().port) if v is not None]
    assert made.port == given_ones[0]


def test_each_source_may_set_another_key(file: Path) -> None:
    file.write_text('beat_s = 1\nbind = "::1"\n')
    made = load(QueenConfig, file, {"RBEE_QUEUE_LIMIT": "7"}, {"log_level": "debug"})
    assert (made.beat_s, made.bind, made.queue_limit, made.log_level) == (1.0, "::1", 7, "debug")


ENVIRONMENT: list[tuple[str, str, str, Any]] = [
    ("RBEE_INSECURE", "true", "insecure", True),
    ("RBEE_INSECURE", "0", "insecure", False),
    ("RBEE_BEAT_S", "0.5", "beat_s", 0.5),
    ("RBEE_ALLOWED_HOSTS", "a.local, b ,,", "allowed_hosts", ("a.local", "b")),
    ("RBEE_ALLOWED_HOSTS", "", "allowed_hosts", ()),
]


@pytest.mark.parametrize(("name", "text", "key", "value"), ENVIRONMENT)
def test_environment_is_text(name: str, text: str, key: str, value: Any) -> None:
    assert getattr(load(QueenConfig, None, {name: text}), key) == value


def test_a_workers_adapters_are_a_list_wherever_they_are_said(tmp_path: Path) -> None:
    in_file = tmp_path / "worker.toml"
    in_file.write_text('lora = ["a=x,y.gguf"]\n')
    assert load(WorkerConfig, in_file, {}).lora == ("a=x,y.gguf",)
    env = {"RBEE_LORA": "a=x.gguf, b=y.gguf", "RBEE_KV_TOKENS": "8192"}
    made = load(WorkerConfig, in_file, env)
    assert (made.lora, made.kv_tokens) == (("a=x.gguf", "b=y.gguf"), 8_192)
    assert load(WorkerConfig, in_file, env, {"lora": ("c=z.gguf",)}).lora == ("c=z.gguf",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("speculate_tokens", "33"),
        ("speculate_tokens", "-1"),
        ("kv_tokens", "-1"),
        ("lora", "x," * 17),
    ],
)
def test_a_workers_bounds(key: str, value: str) -> None:
    with pytest.raises(Usage, match=f"RBEE_{key.upper()}"):
        load(WorkerConfig, None, {f"RBEE_{key.upper()}": value})


@pytest.mark.parametrize("name", ["RBEE_HOME", "RBEE_QUEEN_URL", "RBEE_HIVE_URL", "RBEE_CONFIG"])
def test_variables_that_are_no_settings(name: str) -> None:
    assert load(QueenConfig, None, {name: "x", "PATH": "y"}) == QueenConfig()


def test_another_roles_variable_is_left_alone() -> None:
    assert load(QueenConfig, None, {"RBEE_MODELS_DIR": "/m"}) == QueenConfig()
    assert load(HiveConfig, None, {"RBEE_MODELS_DIR": "/m"}).models_dir == "/m"


def test_a_misspelt_key_in_the_file(file: Path) -> None:
    file.write_text("prot = 1\n")
    assert "'prot'" in refusal(file) and "Did you mean 'port'?" in refusal(file)
    assert str(file) in refusal(file)


def test_a_misspelt_variable() -> None:
    said = refusal(None, {"RBEE_QUEU_LIMIT": "1"})
    assert said.startswith("RBEE_QUEU_LIMIT is no setting") and "'queue_limit'" in said


def test_an_unknown_flag_is_no_crash() -> None:
    assert "--no-such" in refusal(None, {}, {"no_such": 1})


FILES = [
    ('port = "abc"', "port", "'abc'"),
    ("port = 65536", "port", "65536"),
    ("port = -1", "port", "-1"),
    ("port = 1.5", "port", "1.5"),
    ("beat_s = nan", "beat_s", "nan"),
    ("beat_s = inf", "beat_s", "inf"),
    ("beat_s = 0", "beat_s", "0"),
    ('bind = ""', "bind", "''"),
    ("bind = 127", "bind", "127"),
    ('log_level = "loud"', "log_level", "'loud'"),
    ('allowed_hosts = "a"', "allowed_hosts", "'a'"),
    ("allowed_hosts = [1]", "allowed_hosts", "[1]"),
    ("max_body_bytes = 1", "max_body_bytes", "1"),
    ("[queen]\nport = 1", "queen", ""),
]


@pytest.mark.parametrize(("text", "key", "shown"), FILES)
def test_a_wrong_value_in_the_file(file: Path, text: str, key: str, shown: str) -> None:
    file.write_text(text)
    said = refusal(file)
    assert str(file) in said and key in said and shown in said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RBEE_PORT", ""),
        ("RBEE_PORT", " 1"),
        ("RBEE_PORT", "1_000"),
        ("RBEE_BEAT_S", "nan"),
        ("RBEE_INSECURE", "yes"),
        ("RBEE_QUEUE_LIMIT", "9" * 5_000),
    ],
)
def test_a_wrong_value_in_the_environment(name: str, text: str) -> None:
    assert refusal(None, {name: text}).startswith(f"{name} is {text!r}"[:40])


def test_a_wrong_flag() -> None:
    assert refusal(None, {}, {"queue_limit": "0"}).startswith("--queue-limit is '0': ")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:7833", "ftp://x", "http://", "http://x/y", "http://x y", "http://x\n"]
)
def test_the_queens_address_is_an_address(url: str) -> None:
    with pytest.raises(Usage):
        load(HiveConfig, None, {"RBEE_QUEEN": url})


@pytest.mark.parametrize("name", ["../x", "a b", "x" * 65, "-x", "x\n"])
def test_a_hives_id_can_stand_in_an_address(name: str) -> None:
    with pytest.raises(Usage):
        load(HiveConfig, None, {"RBEE_ID": name})


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_cannot_be_read(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert refusal(file).startswith(f"{file} cannot be read: ")


def test_a_folder_in_the_files_place(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path} cannot be read: ")


def refusal(
    file: Path | None, env: dict[str, str] | None = None, flags: dict[str, Any] | None = None
) -> str:
    with pytest.raises(Usage) as caught:
        load(QueenConfig, file, env or {}, flags)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("http://a:1", ["http://a:1"]),
        ("http://a:1,http://b:2 , https://c", ["http://a:1", "http://b:2", "https://c"]),
        ("http://a:1,http://a:1", ["http://a:1"]),
    ],
)
def test_several_queens_may_be_named(text: str, expected: list[str]) -> None:
    assert queens(load(HiveConfig, None, {}, {"queen": text}).queen) == expected
    assert queens(load(WorkerConfig, None, {}, {"queen": text}).queen) == expected


@pytest.mark.parametrize("text", ["a:1", "http://a:1,b:2", "http://a:1,", "http://a/path", ","])
def test_each_of_them_must_be_an_address(text: str) -> None:
    with pytest.raises(Usage, match="--queen"):
        load(HiveConfig, None, {}, {"queen": text})
    with pytest.raises(Usage, match="--queen"):
        load(WorkerConfig, None, {}, {"queen": text})
