"""Both file layouts give the ids of the `tokenizers` reference; control tokens cannot be spelled; decoding is whole."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from scripts.make_checkpoint import CONTROL_TOKENS, FIRST_CONTROL_ID, write_tokenizer
from steno.models.tokenizer import Tokenizer, TokenizerError

TEXTS = [
    "hello world",
    "  two  spaces\n\nand\tlines \r\n end ",
    "It's 12345 o'clock, DON'T you'll we've",
    "你好世界 今天天气 ab中文cd",
    "Größe naïve e\u0301 \u212b",  # NFC: composed
    "🎉👩\u200d👩\u200d👧 mixed emoji",
    "",
    "a" * 300,
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    for layout in ("official", "native"):
        (root / layout).mkdir()
        write_tokenizer(root / layout, layout, 512)
    return {"official": root / "official", "native": root / "native"}


@pytest.fixture(scope="module", params=["official", "native"])
def tokenizer(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Tokenizer:
    return Tokenizer.load(folders[request.param])


@pytest.fixture(scope="module")
def reference(folders: dict[str, Path]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_file=str(folders["native"] / "tokenizer.json"))


@pytest.mark.parametrize("text", TEXTS)
def test_plain_text_has_the_ids_of_the_reference(
    tokenizer: Tokenizer, reference: PreTrainedTokenizerFast, text: str
) -> None:
    assert tokenizer.encode(text) == reference(text)["input_ids"]


def test_control_tokens_have_the_ids_of_the_reference(tokenizer: Tokenizer, reference: PreTrainedTokenizerFast) -> None:
    assert [tokenizer.id(name) for name in CONTROL_TOKENS] == reference.convert_tokens_to_ids(CONTROL_TOKENS)
    assert tokenizer.size == 1 + max(tokenizer.id(name) for name in CONTROL_TOKENS)


@pytest.mark.parametrize("name", CONTROL_TOKENS)
def test_a_control_token_cannot_be_spelled_in_a_text(tokenizer: Tokenizer, name: str) -> None:
    controls = {tokenizer.id(control) for control in CONTROL_TOKENS}
    ids = tokenizer.encode(f"before {name}after")
    assert not controls & set(ids)
    assert tokenizer.decode(ids) == f"before {name}after"


@pytest.mark.parametrize("seed", range(20))
def test_random_ids_decode_as_in_the_reference(
    tokenizer: Tokenizer, reference: PreTrainedTokenizerFast, seed: int
) -> None:
    generator = random.Random(seed)
    ids = [generator.randrange(tokenizer.size + 5) for _ in range(200)]
    expected = reference.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    text = tokenizer.decode(ids)
    assert expected.startswith(text)
    assert set(expected[len(text) :]) <= {"\ufffd"}  # the reference shows what is held back


@pytest.mark.parametrize("text", TEXTS)
def test_every_prefix_of_the_ids_gives_a_prefix_of_whole_characters(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    whole, ends = tokenizer.decode_with_ends(ids)
    assert len(ends) == len(ids)
    assert "\ufffd" not in whole
    for count in range(len(ids) + 1):
        prefix = tokenizer.decode(ids[:count])
        assert whole.startswith(prefix)
        assert len(prefix) == (ends[count - 1] if count else 0)


def test_special_tokens_are_no_text_but_the_tag_is(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.id("<|im_start|>"), *tokenizer.encode("a"), tokenizer.id("<asr_text>"), tokenizer.id("<|im_end|>")]
    assert tokenizer.decode(ids) == "a<asr_text>"


def test_real_ids_where_the_vocabulary_has_room(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, "official", 151936)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.id("<|endoftext|>") == FIRST_CONTROL_ID
    assert tokenizer.id("<|audio_pad|>") == 151676
    assert tokenizer.id("<asr_text>") == 151704


def test_a_missing_token_is_named_with_its_file(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer(_config)?\.json has no token '<nonsense>'"):
        tokenizer.id("<nonsense>")


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"has no tokenizer: expected tokenizer\.json, or vocab\.json and merges"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "complaint"),
    [
        ("merges.txt", None, r"merges\.txt cannot be read"),
        ("merges.txt", "#version: 0.2\na b c\n", r"merges\.txt, line 2: 'a b c', expected two tokens"),
        ("merges.txt", "#version: 0.2\nzzz qqq\n", r"vocab\.json does not fit its merges\.txt"),
        ("vocab.json", "{", r"vocab\.json is not JSON"),
        ("vocab.json", '{"a": "b"}', r"vocab\.json: 'a' has id 'b', expected an integer"),
        ("tokenizer_config.json", None, r"tokenizer_config\.json cannot be read"),
        ("tokenizer_config.json", "[]", r"tokenizer_config\.json holds a list, expected an object"),
        ("tokenizer_config.json", "{}", r"tokenizer_config\.json has no added_tokens_decoder"),
    ],
)
def test_a_broken_official_folder(tmp_path: Path, file: str, content: str | None, complaint: str) -> None:
    write_tokenizer(tmp_path, "official", 512)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(TokenizerError, match=complaint):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is not JSON"),
        (json.dumps({"added_tokens": []}), "is no tokenizer"),
        (json.dumps({"model": {}}), "has no added_tokens"),
    ],
)
def test_a_broken_native_folder(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=rf"tokenizer\.json {complaint}"):
        Tokenizer.load(tmp_path)
