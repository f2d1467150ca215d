"""Begin a next sitting of a run from the mean of the weights at several times.

    cp build/tiny-run/state.pt build/state-at-200.pt          # between sittings
    python -m scripts.train_tiny.average --run build/tiny-run build/state-at-200.pt build/tiny-run/state.pt

Sittings of one run lie close enough for the mean of their weights to work (Wortsman et al. 2022, "Model soups"), and
what one of them unlearned the others still know. A short sitting afterwards settles what fits badly together. The
optimiser, the clock and the step stay those of the run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def mean(weights: Sequence[Weights]) -> Weights:
    """The mean of each tensor; those that are not of floats are the last one's.

    Raises ValueError where names or shapes differ.
    """
    last = weights[-1]
    for other in weights[:-1]:
        if {name: value.shape for name, value in other.items()} != {name: value.shape for name, value in last.items()}:
            raise ValueError("the states are of different models: names or shapes of their weights differ")
    return {
        name: torch.stack([other[name] for other in weights]).mean(0) if value.is_floating_point() else value
        for name, value in last.items()
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("states", type=Path, nargs="+", help="state.pt of several times, that of the run among them")
    parser.add_argument("--run", type=Path, required=True, help="whose state.pt is written anew")
    options = parser.parse_args(arguments)

    def load(path: Path) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state

    path = options.run / "state.pt"
    state = load(path)
    state["model"] = state["average"] = mean([load(each)["average"] for each in options.states])
    written = path.with_suffix(".new")
    torch.save(state, written)
    written.replace(path)


if __name__ == "__main__":
    main()
