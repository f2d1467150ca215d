"""Words of users to devices; wrong ones are named."""

import pytest
import torch

from steno.models.device import choose_device, use_threads


def test_auto_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device() == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == "cpu"


def test_explicit_names_are_kept_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cpu") == "cpu"
    assert choose_device("cuda:0") == "cuda:0"
    with pytest.raises(ValueError, match="'cuda:1', but torch sees 1"):
        choose_device("cuda:1")
    with pytest.raises(ValueError, match="device is 'gpu'"):
        choose_device("gpu")


def test_threads_are_set_once_and_left_alone_without_a_number() -> None:
    before = torch.get_num_threads()
    try:
        use_threads(1)
        use_threads(None)
        assert torch.get_num_threads() == 1
    finally:
        use_threads(before)
