"""The mean of several states, written into a run that then goes on."""

from pathlib import Path

import pytest
import torch

from scripts.train_tiny.average import main, mean


def test_a_run_goes_on_from_the_mean_of_the_averaged_weights(tmp_path: Path) -> None:
    def state(value: float, step: int) -> dict[str, object]:
        average = {"weight": torch.full((2, 3), value), "steps": torch.tensor(step)}
        return {"average": average, "model": {"weight": torch.zeros(2, 3)}, "optimiser": {"step": step}, "step": step}

    run = tmp_path / "run"
    run.mkdir()
    early = tmp_path / "early.pt"
    torch.save(state(1.0, 10), early)
    torch.save(state(4.0, 30), run / "state.pt")
    main(["--run", str(run), str(early), str(run / "state.pt")])
    now = torch.load(run / "state.pt", weights_only=True)
    for key in ("average", "model"):
        assert now[key]["weight"].tolist() == [[2.5] * 3] * 2
        assert now[key]["steps"].item() == 30
    assert now["step"] == 30
    assert now["optimiser"] == {"step": 30}
    assert [path.name for path in run.iterdir()] == ["state.pt"]


def test_states_of_different_models_are_refused() -> None:
    with pytest.raises(ValueError, match="different models"):
        mean([{"a": torch.zeros(2)}, {"a": torch.zeros(3)}])
    with pytest.raises(ValueError, match="different models"):
        mean([{"a": torch.zeros(2)}, {"b": torch.zeros(2)}])
