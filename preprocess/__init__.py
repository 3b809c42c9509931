"""Converts JPEG images and the competition's train.csv to shards: `python -m preprocess --help`."""

import cloudseg  # noqa: F401  imported first, as it handles stop signals
