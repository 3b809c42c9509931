"""docs/formats.md names every file of a run and of a data set."""

from __future__ import annotations

import re
from pathlib import Path

from tests.train.conftest import ROOT

WORDS = {"DIGEST": "[0-9a-f]+", "NNNNN": r"\d+", "N-STAGE": r"\d-\w+", "STAGE": r"\w+", "KEY": ".+", r"\.\.\.": ""}


def named(section: str, inside: str = "") -> list[str]:
    """Expressions for the files in the first column of a section's table; a name that ends in / covers a folder."""
    text = re.search(rf"^## {section}.*?(?=^## |\Z)", (ROOT / "docs" / "formats.md").read_text(), re.M | re.S)[0]
    names = [name for row in re.findall(r"^\| (`.*?) \|", text, re.M) for name in re.findall(r"`(.*?)`", row)]
    return [expression(inside + name) for name in names]


def expression(name: str) -> str:
    out = re.sub(r"\d+", r"\\d+", re.escape(name))
    for word, pattern in WORDS.items():
        out = out.replace(re.escape(word), pattern)
    return f"{out}.*" if name.endswith("/") else out


def unnamed(folder: Path, expressions: list[str]) -> list[str]:
    files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files
    return [file for file in files if not any(re.fullmatch(each, file) for each in expressions)]


def test_every_file_of_a_run_is_described(chain):
    known = [*named("RUN\n"), *named("RUN/N-STAGE", "N-STAGE/"), *named("RUN/jobs", "jobs/")]
    assert unnamed(chain, known) == []


def test_every_file_of_a_data_set_is_described(data):
    assert unnamed(data, named("DATA")) == []
