"""One rank: `python -m bench.step.rank FOLDER`, started by `cloudseg.cluster.steps` as those of a stage are."""

from __future__ import annotations

import logging
import sys
from pathlib import Path


def main(folder: Path) -> None:
    # Not at the top, as in cloudseg.train: the feed's own processes import this module, and need no TensorFlow.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    from bench.step import blocks

    blocks.measure(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
