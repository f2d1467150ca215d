"""From a name or a folder to weights in a Network: local folders and hub ids, official and transformers-native layouts.

Tensors are mapped from the file and assigned one by one, so there is never a second full copy; what is stored in the
wanted type stays a view of the file. Strict both ways: a tensor too many is as wrong as one too few. Every failure is a
CheckpointError that names the file and what was expected. Knows no tokenizer and no audio.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open
from torch import Tensor
from tqdm.auto import tqdm

from .config import CheckpointError as CheckpointError
from .config import ModelConfig, read_config
from .network import Network

BUNDLED = "tiny"
HUB_FILES = ("*.json", "*.safetensors", "merges.txt")
FLOAT_TYPES = (torch.bfloat16, torch.float16, torch.float32)

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")

NameTable = tuple[tuple[str, str], ...]

OFFICIAL_NAMES: NameTable = (("", "thinker."),)
"""Prefix in Network -> prefix in the file, first match wins."""

NATIVE_NAMES: NameTable = (
    ("audio_tower.proj1.", "model.multi_modal_projector.linear_1."),
    ("audio_tower.proj2.", "model.multi_modal_projector.linear_2."),
    ("audio_tower.", "model.audio_tower."),
    ("model.", "model.language_model."),
    ("lm_head.", "lm_head."),
)
NATIVE_ALIGNER_NAMES: NameTable = (*NATIVE_NAMES[:-1], ("lm_head.", "score."))

_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


class _NoProgress(tqdm):  # type: ignore[misc]  # has no stubs
    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})


def resolve_source(
    source: str | Path, *, revision: str | None = None, offline: bool = False, progress: bool = True
) -> Path:
    """Folder of a checkpoint: `source` is a local folder, "tiny" (the bundled one) or a hub id like owner/name.

    A hub id is downloaded unless it is in the cache; `offline` never asks the network. Raises CheckpointError.
    """
    folder = Path(source)
    if str(source) == BUNDLED:
        return Path(str(importlib.resources.files(f"{__package__}.{BUNDLED}")))
    if str(source) and folder.is_dir():
        return folder
    if folder.is_file():
        raise CheckpointError(f"{source} is a file, expected the folder of a checkpoint or a hub id")
    if isinstance(source, Path) or not _HUB_ID.fullmatch(source):
        raise CheckpointError(
            f"no folder {source}; expected a checkpoint folder, a hub id like owner/name or {BUNDLED!r}"
        )
    return _download(source, revision, offline, progress)


def _download(hub_id: str, revision: str | None, offline: bool, progress: bool) -> Path:
    at = f"{hub_id} at revision {revision}" if revision else hub_id
    try:
        return Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(HUB_FILES),
                local_files_only=offline,
                tqdm_class=tqdm if progress else _NoProgress,
            )
        )
    except RevisionNotFoundError as error:
        raise CheckpointError(f"{hub_id} has no revision {revision!r} on the hub") from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(f"no folder {hub_id}, and no such model on the hub (or it is private)") from error
    except LocalEntryNotFoundError as error:
        reason = "it is not in the local cache and offline was asked for" if offline else "the hub cannot be reached"
        raise CheckpointError(f"cannot get {at}: {reason}") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise CheckpointError(f"cannot get {at} from the hub: {error}") from error


def load_config(folder: Path) -> ModelConfig:
    """Read config.json of a checkpoint folder. Raises CheckpointError."""
    path = folder / "config.json"
    try:
        return read_config(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is no checkpoint: it has no config.json") from error


def stored_names(network: Network) -> dict[str, str]:
    """Name in the checkpoint's files -> parameter name, for every parameter, in the layout of the network's config."""
    config = network.config
    table = OFFICIAL_NAMES
    if config.native_layout:
        table = NATIVE_NAMES if config.classes is None else NATIVE_ALIGNER_NAMES
    return {_stored_name(name, table): name for name in network.state_dict()}


def _stored_name(name: str, table: NameTable) -> str:
    ours, theirs = next(pair for pair in table if name.startswith(pair[0]))
    return theirs + name[len(ours) :]


def load_network(folder: Path, *, device: torch.device | str, dtype: torch.dtype) -> Network:
    """Load the weights of a checkpoint folder, ready for inference.

    A head that the config ties to the embedding may be stored or not; a stored one is not read. Raises CheckpointError.
    """
    config = load_config(folder)
    with torch.device("meta"):
        network = Network(config).requires_grad_(False).eval()
    names = stored_names(network)
    empty = network.state_dict()
    state: dict[str, Tensor] = {}
    for path in _shards(folder):
        for stored, tensor in _read_shard(path):
            name = names.get(stored)
            if name is None:
                raise CheckpointError(f"{path} holds a tensor {stored}, which no {_layout(config)} has")
            if name in state:
                raise CheckpointError(f"{path} holds {stored}, which another file of the checkpoint held already")
            _check(path, stored, tensor, empty[name])
            if not (config.decoder.tied_head and name == _HEAD):
                state[name] = tensor.to(device=device, dtype=dtype)
    if config.decoder.tied_head and _EMBEDDING in state:
        state[_HEAD] = state[_EMBEDDING]
    missing = [(stored, name) for stored, name in names.items() if name not in state]
    if missing:
        stored, name = missing[0]
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of the {len(names)} tensors of a {_layout(config)}: "
            f"{stored} of shape {list(empty[name].shape)} is the first"
        )
    network.load_state_dict(state, assign=True)
    network.tie()
    return network


def _layout(config: ModelConfig) -> str:
    kind = "recognizer" if config.classes is None else "forced aligner"
    return f"{kind} of {config.decoder.layers} + {config.encoder.layers} layers in the {_layout_name(config)} layout"


def _layout_name(config: ModelConfig) -> str:
    return "transformers-native" if config.native_layout else "official"


def _check(path: Path, stored: str, tensor: Tensor, expected: Tensor) -> None:
    if tensor.shape != expected.shape:
        raise CheckpointError(
            f"{path}: {stored} has shape {list(tensor.shape)}, config.json makes it {list(expected.shape)}"
        )
    if tensor.dtype not in FLOAT_TYPES:
        wanted = ", ".join(map(str, FLOAT_TYPES))
        raise CheckpointError(f"{path}: {stored} is stored as {tensor.dtype}, expected one of {wanted}")


def _shards(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        whole = folder / "model.safetensors"
        if not whole.is_file():
            raise CheckpointError(f"{folder} has no weights: expected {whole.name}, or {index.name} and its shards")
        return [whole]
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = [folder / name for name in sorted(set(weight_map.values()))]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is broken: expected an object with a weight_map of tensor to file") from error
    for shard in shards:
        if not shard.is_file():
            raise CheckpointError(f"{shard} is missing: {index.name} lists it")
    return shards


def _read_shard(path: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated or no safetensors file: {error}") from error
