from __future__ import annotations

from cloudseg.training import history


def row(epoch: int, loss: float) -> dict[str, float]:
    return dict.fromkeys(history.COLUMNS, 0.0) | {"epoch": epoch, "step": epoch * 10, "loss": loss}


def test_an_epoch_that_is_done_again_after_an_interruption_is_not_doubled(tmp_path):
    file = tmp_path / "history.csv"
    for epoch, loss in ((1, 0.5), (2, 0.4), (2, 0.3), (3, 0.2)):
        history.append(file, row(epoch, loss))
    assert [(r["epoch"], r["loss"]) for r in history.read(file)] == [("1", "0.5"), ("2", "0.3"), ("3", "0.2")]


def test_a_stage_that_has_not_begun_has_no_history(tmp_path):
    assert history.read(tmp_path / "history.csv") == []
