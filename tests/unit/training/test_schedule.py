from __future__ import annotations

import pytest

from cloudseg.core.recipes import RECIPES, Stage
from cloudseg.training.schedule import cuts, learning_rate, stops_early


def test_the_paper_holds_ten_epochs_and_ends_a_thousand_times_lower():
    stage, steps = RECIPES["paper"].stages["frozen"], 70
    rates = [learning_rate(stage, step, steps) for step in range(25 * steps)]
    assert rates[: 10 * steps] == [1e-2] * (10 * steps)
    assert rates[-1] == pytest.approx(1e-5)
    assert all(after < before for before, after in zip(rates[10 * steps :], rates[10 * steps + 1 :], strict=False))


def test_the_paper_is_thirty_five_epochs_and_fine_tunes_at_a_millionth():
    stages = RECIPES["paper"].stages
    assert {name: stage.epochs for name, stage in stages.items()} == {"frozen": 25, "partial": 5, "full": 5}
    assert [stages[name].encoder for name in ("frozen", "partial", "full")] == [0.0, 0.2, 1.0]
    for name in ("partial", "full"):
        assert {learning_rate(stages[name], step, 70) for step in range(50, 5 * 70)} == {1e-6}
    assert {stage.optimizer for stage in stages.values()} == {"adam"}


def rates(stage: Stage, steps_per_epoch: int, **more: int) -> list[float]:
    return [learning_rate(stage, step, steps_per_epoch, **more) for step in range(stage.epochs * steps_per_epoch)]


def test_a_cosine_goes_from_the_rate_to_its_end_and_is_half_way_in_the_middle():
    found = rates(Stage(1.0, epochs=11, lr=1.0, schedule="cosine", decay=100.0), 1)
    assert (found[0], found[5], found[-1]) == pytest.approx((1.0, 0.505, 0.01))


def test_one_cycle_rises_for_three_tenths_and_falls_for_the_rest():
    found = rates(Stage(1.0, epochs=10, lr=1.0, schedule="one-cycle", decay=1000.0), 10)
    assert (found[0], max(found), found[-1]) == pytest.approx((1 / 25, 1.0, 1e-3))
    assert found.index(max(found)) == 30
    assert found[:31] == sorted(found[:31]) and found[30:] == sorted(found[30:], reverse=True)


def test_a_scaled_rate_grows_with_the_number_of_ranks_in_every_schedule():
    for schedule in ("exponential", "cosine", "one-cycle", "plateau"):
        stage = Stage(1.0, epochs=3, lr=0.1, scale_lr=True, schedule=schedule, decay=10.0, warmup_steps=4)
        assert rates(stage, 5, ranks=8) == pytest.approx([8 * rate for rate in rates(stage, 5)])


def test_a_plateau_cuts_the_rate_after_each_five_epochs_without_improvement():
    stage = Stage(1.0, epochs=20, lr=1.0, schedule="plateau")
    losses = [0.5, 0.4, *[0.41] * 4]
    assert cuts(stage, losses) == 0
    assert cuts(stage, [*losses, 0.40]) == 1
    assert cuts(stage, [*losses, 0.40, 0.3, *[0.3] * 5]) == 2
    assert learning_rate(stage, 7, 1, cuts=2) == pytest.approx(0.01)
    assert cuts(Stage(1.0, epochs=20, lr=1.0), [0.4] * 20) == 0


def test_a_stage_stops_early_when_so_many_epochs_brought_no_better_dice():
    stage = Stage(1.0, epochs=20, lr=1.0, early_stop=3)
    assert not stops_early(stage, [])
    assert not stops_early(stage, [0.5, 0.6, 0.6, 0.5])
    assert stops_early(stage, [0.5, 0.6, 0.6, 0.5, 0.59])
    assert not stops_early(Stage(1.0, epochs=20, lr=1.0), [0.6, *[0.5] * 9])


def test_warm_up_rises_linearly_to_the_rate():
    stage = Stage(encoder=1.0, epochs=1, lr=1.0, warmup_steps=4)
    assert [learning_rate(stage, step, 6) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
