from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cloudseg.core.recipes import RECIPES

ROOT = Path(__file__).resolve().parents[3]


def recipes(*arguments: str) -> str:
    command = [sys.executable, "-m", "cloudseg.recipes", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_every_recipe_is_listed_in_a_line():
    assert [line.split()[0] for line in recipes().splitlines()] == list(RECIPES)


def test_the_paper_prints_the_learning_rate_of_each_of_its_epochs():
    lines = recipes("paper", "--steps", "70").splitlines()
    rates = [re.findall(r"learning rate (.*)", line)[0] for line in lines if "learning rate" in line]
    assert len(rates) == 35
    assert rates[:10] == ["0.01"] * 10
    ends = [float(rate.split()[-1]) for rate in rates[10:25]]
    assert ends == sorted(ends, reverse=True)
    assert ends[-1] == pytest.approx(1e-5)
    assert rates[26:30] == rates[31:] == ["1e-06"] * 4


def test_a_changed_recipe_is_shown_changed():
    assert "epoch   3 (3 of 3): learning rate 0.5" in recipes(
        "paper", "--set", "stage.frozen.epochs=3", "--set", "stage.frozen.lr=0.5"
    )
