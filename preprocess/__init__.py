"""JPEG images and the competition's train.csv -> shards: `python -m preprocess --help`."""

import cloudseg  # noqa: F401  the first line that takes stop signals
