"""Keys wherever clients put them, and pages of strangers kept out."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from steno.streaming.auth import Credentials, KeyRing, choose_subprotocol, origin_admitted, read_keys

RING = KeyRing(["sesame", "clé"])


def carries(
    headers: dict[str, str] | None = None, query: dict[str, str] | None = None, subprotocols: Sequence[str] = ()
) -> bool:
    return RING.admits(Credentials(headers or {}, query or {}, subprotocols))


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer sesame"},
        {"authorization": "bearer  sesame "},
        {"authorization": "Token sesame"},
        {"api-key": "sesame"},
        {"x-api-key": "clé"},
        {"authorization": "Basic Zm9v", "api-key": "sesame"},
    ],
)
def test_keys_in_headers(headers: dict[str, str]) -> None:
    assert carries(headers)


@pytest.mark.parametrize("name", ["api_key", "api-key", "token"])
def test_keys_in_the_query(name: str) -> None:
    assert carries(query={name: "sesame"})


@pytest.mark.parametrize("offered", ["steno-key.sesame", "openai-insecure-api-key.sesame"])
def test_keys_in_sub_protocols(offered: str) -> None:
    assert carries(subprotocols=["realtime", offered])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer sesam"},
        {"authorization": "Bearer sesamee"},
        {"authorization": "Bearer"},
        {"authorization": "sesame"},
        {"authorization": "Basic sesame"},
        {"api-key": ""},
        {"api-key": "\udcff"},
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    assert not carries(headers, query={"key": "sesame"}, subprotocols=["sesame", "steno-key."])


def test_a_ring_without_keys_admits_everybody() -> None:
    assert KeyRing().admits(Credentials({}, {}))
    assert KeyRing().open
    assert not RING.open


def test_an_empty_key_is_no_key() -> None:
    with pytest.raises(ValueError, match="an API key is empty"):
        KeyRing(["a", ""])


def test_keys_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# team\n\n  one \ntwo\n")
    assert read_keys(path) == ["one", "two"]
    path.write_text("# nothing\n")
    with pytest.raises(ValueError, match="has no API key"):
        read_keys(path)


def test_the_sub_protocol_that_is_answered() -> None:
    known = ("steno.v1",)
    assert choose_subprotocol([], known) is None
    assert choose_subprotocol(["graphql"], known) is None
    assert choose_subprotocol(["steno-key.x", "steno.v1"], known) == "steno.v1"
    assert choose_subprotocol(["graphql", "steno-key.x"], known) == "steno-key.x"


@pytest.mark.parametrize(
    ("origin", "host", "allowed", "admitted"),
    [
        (None, "localhost:8765", (), True),
        ("http://localhost:8765", "localhost:8765", (), True),
        ("https://Captions.Example", "captions.example", (), True),
        ("http://localhost:3000", "localhost:8765", (), False),
        ("https://evil.example", "localhost:8765", (), False),
        ("null", "localhost:8765", (), False),
        ("https://evil.example", None, (), False),
        ("https://good.example", "localhost:8765", ("https://good.example",), True),
        ("https://good.example.evil", "localhost:8765", ("https://good.example",), False),
        ("https://any.example", "localhost:8765", ("*",), True),
    ],
)
def test_origins(origin: str | None, host: str | None, allowed: tuple[str, ...], admitted: bool) -> None:
    assert origin_admitted(origin, host, allowed) is admitted
