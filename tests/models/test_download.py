"""What comes from a device is read in order, as it was when it was chosen."""

import pytest
import torch

from steno.models.download import Choices


@pytest.fixture
def read() -> list[tuple[list[int], list[float]]]:
    return []


def test_lots_are_read_in_order_and_as_they_were(read: list[tuple[list[int], list[float]]]) -> None:
    choices = Choices()
    ids, logprobs = torch.tensor([151_936, 2]), torch.tensor([-0.5, -1.25])
    choices.expect(ids, logprobs, lambda *lot: read.append(lot))
    ids.zero_()  # the lanes' next steps write over it
    choices.expect(ids, logprobs, lambda *lot: read.append(lot))
    choices.read(keep=1)
    assert read == [([151_936, 2], [-0.5, -1.25])]
    choices.read()
    assert read[1:] == [([0, 0], [-0.5, -1.25])]
    choices.read()
    assert len(read) == 2


def test_what_is_forgotten_is_not_read(read: list[tuple[list[int], list[float]]]) -> None:
    choices = Choices()
    choices.expect(torch.tensor([1]), torch.tensor([-1.0]), lambda *lot: read.append(lot))
    choices.forget()
    choices.read()
    assert read == []
