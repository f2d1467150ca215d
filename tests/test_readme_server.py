"""What the README says of running a server exists under the names that it uses."""

import re
from dataclasses import fields
from pathlib import Path

from steno.streaming.auth import KEY_HEADERS, KEY_QUERY_FIELDS, KEY_SUBPROTOCOLS, SUBPROTOCOL
from steno.streaming.config import EngineOptions, ServerOptions, SessionOptions
from steno.streaming.metrics import Metrics

README = (Path(__file__).parent.parent / "README.md").read_text()
SECTION = README.split("## Running a server")[1].split("\n## ")[0]


def test_every_flag_is_one() -> None:
    known = {
        each.name.replace("_", "-") for kind in (ServerOptions, EngineOptions, SessionOptions) for each in fields(kind)
    }
    named = {flag.removeprefix("no-") for flag in re.findall(r"`--([\w-]+)", SECTION)}
    assert named
    assert named <= known


def test_every_metric_is_counted() -> None:
    text = Metrics().text().decode()
    named = re.findall(r"`(steno_\w+)`", SECTION)
    assert named
    assert [name for name in named if f"# TYPE {name} " not in text] == []


def test_every_path_is_served() -> None:
    folder = Path(__file__).parent.parent / "streaming"
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    paths = re.findall(r"`(/[\w/]+)`", SECTION)
    assert len(paths) >= 7
    assert [path for path in paths if f'"{path}"' not in code] == []


def test_every_place_of_a_key_is_looked_at() -> None:
    assert {"api-key", "x-api-key"} <= set(KEY_HEADERS)
    assert "api_key" in KEY_QUERY_FIELDS
    assert "steno-key." in KEY_SUBPROTOCOLS
    assert f"`{SUBPROTOCOL}`" in SECTION
