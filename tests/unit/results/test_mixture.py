from __future__ import annotations

import numpy as np
import pytest

from cloudseg.data.labels import NO_DATA
from cloudseg.results import mixture


def test_the_weights_have_the_highest_likelihood_of_all_on_a_grid():
    random = np.random.default_rng(0)
    truth = random.random(20_000) < 0.3
    chances = [
        np.clip(np.where(truth, 0.7, 0.3) + random.normal(0, spread, 20_000), 0.01, 0.99) for spread in (0.1, 0.3)
    ]
    likelihoods = np.array([np.where(truth, p, 1 - p) for p in chances], np.float32)
    grid = np.linspace(0, 1, 1001)
    best = grid[np.argmax([np.log(w * likelihoods[0] + (1 - w) * likelihoods[1]).sum() for w in grid])]
    assert mixture.fit(likelihoods)[0] == pytest.approx(best, abs=0.01)


def images(count: int = 6):
    """Truth, a run that knows it well, and one that guesses."""
    random = np.random.default_rng(1)
    for _ in range(count):
        masks = random.random((4, 20, 30)) < 0.4
        bits = sum(mask.astype(np.uint8) << c for c, mask in enumerate(masks)).astype(np.uint8)
        good = np.where(masks, 230, 25).astype(np.uint8)
        yield good, random.integers(0, 256, good.shape, np.uint8), bits


def test_a_run_that_guesses_gets_the_least_weight():
    known = list(images())
    assert mixture.choose(lambda i: (known[i][:2], known[i][2]), len(known)) == (0.99, 0.01)


def test_equal_runs_get_equal_weights_and_pixels_without_data_do_not_count():
    known = list(images())
    for good, guess, bits in known:
        bits[:, ::2] |= NO_DATA
        guess[:] = np.where(bits < NO_DATA, good, 255 - good)
    assert mixture.choose(lambda i: (known[i][:2], known[i][2]), len(known)) == (0.5, 0.5)


def test_the_number_of_pixels_is_bounded(monkeypatch):
    monkeypatch.setattr(mixture, "SAMPLED", 100)
    drawn, fit = [], mixture.fit
    monkeypatch.setattr(mixture, "fit", lambda likelihoods: drawn.append(likelihoods.shape) or fit(likelihoods))
    known = list(images())
    mixture.choose(lambda i: (known[i][:2], known[i][2]), len(known))
    assert drawn[0][0] == 2
    assert 24 <= drawn[0][1] <= 200
