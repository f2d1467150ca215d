"""Every way a checkpoint can be wrong is an error that names the file and what was expected; every right way loads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scripts.make_checkpoint import SIZES, Layout, Size, config_values, shapes, write_tokenizer
from steno.models.checkpoint import CheckpointError, load_network, resolve_source, stored_names
from steno.models.config import parse_config
from steno.models.network import Network
from steno.models.recognizer import Recognizer
from tests.tiny import ALIGNER, SMALL, tiny_checkpoint


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Network:
    return load_network(folder, device="cpu", dtype=dtype)


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("size", [SMALL, ALIGNER], ids=["recognizer", "aligner"])
@pytest.mark.parametrize("layout", ["official", "native"])
@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("store_head", [True, False])
def test_every_layout_loads_the_same_weights(
    tmp_path: Path, size: Size, layout: Layout, shards: int, store_head: bool
) -> None:
    plain = load(tiny_checkpoint(tmp_path / "plain", size)).state_dict()
    network = load(tiny_checkpoint(tmp_path / "other", size, layout, shards=shards, store_head=store_head))
    other = network.state_dict()
    assert plain.keys() == other.keys()
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    assert not network.training
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in network.parameters())


def test_a_tied_head_is_the_embedding_whatever_is_stored(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path)
    edit_weights(folder, lambda tensors: tensors.update({"thinker.lm_head.weight": torch.zeros(512, 48)}))
    network = load(folder)
    assert network.lm_head.weight is network.model.embed_tokens.weight
    assert network.lm_head.weight.abs().max() > 0


def test_an_untied_head_is_its_own(tmp_path: Path) -> None:
    network = load(tiny_checkpoint(tmp_path, dataclasses.replace(SMALL, tied=False)))
    assert not torch.equal(network.get_parameter("lm_head.weight"), network.model.embed_tokens.weight)


def test_weights_become_the_wanted_type(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in load(folder, torch.float32).state_dict().values()} == {torch.float32}
    assert {tensor.dtype for tensor in load(folder, torch.bfloat16).state_dict().values()} == {torch.bfloat16}


@pytest.mark.parametrize("name", list(SIZES))
@pytest.mark.parametrize("layout", ["official", "native"])
def test_true_sizes_ask_for_exactly_the_published_tensors(tmp_path: Path, name: str, layout: Layout) -> None:
    """Shapes only: nothing of the true size is allocated. 612 and 708 are the counts of the published files."""
    size = SIZES[name]
    ids = write_tokenizer(tmp_path, layout, size.vocab, aligner=size.classes is not None)
    config = parse_config(config_values(size, layout, ids))
    with torch.device("meta"):
        network = Network(config)
    ours = {stored: tuple(network.state_dict()[own].shape) for stored, own in stored_names(network).items()}
    assert ours == shapes(size, layout)
    assert len(ours) == {"0.6b": 612, "1.7b": 708, "aligner": 708}[name]


def test_a_missing_tensor(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path)
    edit_weights(folder, lambda tensors: tensors.pop("thinker.audio_tower.conv_out.weight"))
    complaint = r"lacks 1 of the 70 tensors of a recognizer .* official layout: thinker\.audio_tower\.conv_out\.weight"
    with pytest.raises(CheckpointError, match=complaint + r" of shape \[32, 192\] is the first"):
        load(folder)


def test_a_missing_embedding(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path)
    edit_weights(folder, lambda tensors: tensors.pop("thinker.model.embed_tokens.weight"))
    with pytest.raises(CheckpointError, match=r"thinker\.model\.embed_tokens\.weight of shape \[512, 48\]"):
        load(folder)


def test_an_unexpected_tensor(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path)
    edit_weights(folder, lambda tensors: tensors.update({"thinker.talker.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match=r"model\.safetensors holds a tensor thinker\.talker\.weight, which no"):
        load(folder)


def test_a_wrong_shape(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path)
    edit_weights(folder, lambda tensors: tensors.update({"thinker.model.norm.weight": torch.zeros(47)}))
    complaint = r"model\.safetensors: thinker\.model\.norm\.weight has shape \[47\], config\.json makes it \[48\]"
    with pytest.raises(CheckpointError, match=complaint):
        load(folder)


def test_weights_that_are_no_floats(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path)
    integers = torch.zeros(48, dtype=torch.int8)
    edit_weights(folder, lambda tensors: tensors.update({"thinker.model.norm.weight": integers}))
    with pytest.raises(CheckpointError, match=r"is stored as torch\.int8, expected one of torch\.bfloat16"):
        load(folder)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file(tmp_path: Path, kept: float) -> None:
    path = tiny_checkpoint(tmp_path) / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated or no safetensors file"):
        load(tmp_path)


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    path = tiny_checkpoint(tmp_path, shards=3) / "model-00002-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors is truncated"):
        load(tmp_path)


def test_a_missing_shard(tmp_path: Path) -> None:
    (tiny_checkpoint(tmp_path, shards=3) / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00003-of-00003\.safetensors is missing: .*index\.json lists it"):
        load(tmp_path)


@pytest.mark.parametrize("index", ["{", "{}", "[]", '{"weight_map": [1]}'])
def test_a_broken_index(tmp_path: Path, index: str) -> None:
    (tiny_checkpoint(tmp_path, shards=2) / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=r"model\.safetensors\.index\.json is broken: expected"):
        load(tmp_path)


def test_the_same_tensor_in_two_shards(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path, shards=2)
    first, second = (folder / f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    save_file({**load_file(second), "thinker.audio_tower.conv2d1.bias": torch.zeros(12)}, second)
    assert "thinker.audio_tower.conv2d1.bias" in load_file(first)
    with pytest.raises(CheckpointError, match=r"which another file of the checkpoint held already"):
        load(folder)


def test_no_weights(tmp_path: Path) -> None:
    (tiny_checkpoint(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no weights: expected model\.safetensors, or .*index\.json"):
        load(tmp_path)


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no checkpoint: it has no config\.json"):
        load(tmp_path)


def test_a_config_of_another_model(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path)
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 3}')
    with pytest.raises(CheckpointError, match=r"config\.json has no field"):
        load(folder)


def test_a_config_that_contradicts_the_weights(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path / "weights", layout="native")
    other = tiny_checkpoint(tmp_path / "config", dataclasses.replace(SMALL, intermediate=95), "native")
    (folder / "config.json").write_bytes((other / "config.json").read_bytes())
    with pytest.raises(CheckpointError, match=r"has shape \[.*96.*\], config\.json makes it \[.*95.*\]"):
        load(folder)


@pytest.mark.parametrize(
    "file", ["config.json", "vocab.json", "merges.txt", "tokenizer_config.json", "model.safetensors"]
)
def test_whatever_is_missing_is_one_kind_of_error(tmp_path: Path, file: str) -> None:
    (tiny_checkpoint(tmp_path) / file).unlink()
    with pytest.raises(CheckpointError, match=file.split(".")[0]):
        Recognizer.load(tmp_path)


def test_sources(tmp_path: Path) -> None:
    assert resolve_source(tmp_path) == tmp_path
    assert resolve_source(str(tmp_path)) == tmp_path
    bundled = resolve_source("tiny")
    assert bundled.name == "tiny"
    assert (bundled / "LICENSE").is_file()


def test_a_file_is_no_source(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is a file, expected the folder"):
        resolve_source(file)


@pytest.mark.parametrize("source", ["/no/such/folder", "./nothing", "nothing", "a/b/c", "bad name/model", ""])
def test_neither_folder_nor_hub_id(source: str) -> None:
    with pytest.raises(CheckpointError, match="expected"):
        resolve_source(source)


def test_offline_without_a_cached_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"cannot get nobody/nothing at revision v1: .* offline was asked for"):
        resolve_source("nobody/nothing", revision="v1", offline=True)


def test_a_hub_id_is_fetched_with_what_a_checkpoint_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def fetch(hub_id: str, **options: object) -> str:
        asked.update(options, hub_id=hub_id)
        return str(tmp_path)

    monkeypatch.setattr("steno.models.checkpoint.snapshot_download", fetch)
    assert resolve_source("Qwen/Qwen3-ASR-0.6B", revision="main", progress=False) == tmp_path
    assert (asked["hub_id"], asked["revision"], asked["local_files_only"]) == ("Qwen/Qwen3-ASR-0.6B", "main", False)
    assert set(asked["allow_patterns"]) == {"*.json", "*.safetensors", "merges.txt"}  # type: ignore[call-overload]
