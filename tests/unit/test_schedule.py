from __future__ import annotations

import pytest

from cloudseg.training.schedule import learning_rate
from cloudseg.training.stages import RECIPES, Stage


def test_the_paper_holds_ten_epochs_and_ends_a_thousand_times_lower():
    stage, steps = RECIPES["paper"].stages["frozen"], 70
    rates = [learning_rate(stage, step, steps) for step in range(25 * steps)]
    assert rates[: 10 * steps] == [1e-2] * (10 * steps)
    assert rates[-1] == pytest.approx(1e-5)
    assert all(after < before for before, after in zip(rates[10 * steps :], rates[10 * steps + 1 :], strict=False))


def test_warm_up_rises_linearly_to_the_rate():
    stage = Stage(encoder=1.0, epochs=1, lr=1.0, warmup_steps=4)
    assert [learning_rate(stage, step, 6) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
