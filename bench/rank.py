"""One rank: `python -m bench.rank MODULE FOLDER`, started by `bench.ranks` as those of a stage are."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path


def main(module: str, folder: Path) -> None:
    # Not at the top, as in cloudseg.train: the feed's own processes import this module, and need no TensorFlow.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    importlib.import_module(module).measure(folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
