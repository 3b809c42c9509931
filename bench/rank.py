"""One rank: `python -m bench.rank MODULE FOLDER`. `bench.ranks` starts it with cloudseg's launcher."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path


def main(module: str, folder: Path) -> None:
    # Imported here, as the feed's worker processes import this module and need no TensorFlow.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    importlib.import_module(module).measure(folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
