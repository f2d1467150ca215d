"""What the README says of the wire protocol is true and complete."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest

from scripts.readme_map import with_map
from steno.streaming.audio_input import ENCODINGS, SAMPLE_RATES
from steno.streaming.config import SessionOptions
from steno.streaming.handshake import limits
from steno.streaming.protocol import (
    CLOSE_CODES,
    ClientMessage,
    NoticeCode,
    Ready,
    ServerMessage,
    SpeechEndReason,
    Start,
    decode_client,
    decode_server,
)

README = (Path(__file__).parent.parent / "README.md").read_text()
PROTOCOL = README.split("## The wire protocol")[1].split("\n## ")[0]
EXAMPLES = [line for block in re.findall(r"```json\n(.*?)```", PROTOCOL, re.S) for line in block.splitlines()]
TO_SERVER = {json.loads(each)["type"] for each in EXAMPLES} & {"start", "commit", "clear", "gap", "stop"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_decode_without_a_field_too_many(example: str) -> None:
    value = json.loads(example)
    message = (decode_client if value["type"] in TO_SERVER else decode_server)(example)
    assert set(value) - {"type"} <= set(message.__struct_fields__)


def test_every_message_has_an_example() -> None:
    shown = {
        type((decode_client if json.loads(each)["type"] in TO_SERVER else decode_server)(each)) for each in EXAMPLES
    }
    assert shown == {*get_args(ClientMessage), *get_args(ServerMessage)}


def test_every_field_of_start_is_explained() -> None:
    rows = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PROTOCOL, re.M))))
    assert set(Start.__struct_fields__) - {"version"} <= rows


def test_the_table_of_errors_is_the_table_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", PROTOCOL, re.M)
    assert {code: int(close) for code, close in rows} == {code.value: close for code, close in CLOSE_CODES.items()}


def test_values_in_words_are_those_of_the_code() -> None:
    assert all(f"`{each.value}`" in PROTOCOL for each in NoticeCode)
    assert all(f"`{each}`" in PROTOCOL for each in get_args(SpeechEndReason))
    assert all(f"`{each}`" in PROTOCOL for each in ENCODINGS)
    assert all(str(each) in PROTOCOL for each in SAMPLE_RATES)


def test_the_limits_shown_are_the_defaults() -> None:
    for each in EXAMPLES:
        if json.loads(each)["type"] == "ready":
            message = decode_server(each)
            assert isinstance(message, Ready)
            assert message.limits == limits(SessionOptions(), 30)
            assert (message.interval_ms, message.endpoint_ms) == (
                SessionOptions().interval_ms,
                SessionOptions().endpoint_ms,
            )


def test_the_map_is_the_tree() -> None:
    assert README == with_map(README), "run: python -m scripts.readme_map"
