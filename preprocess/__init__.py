"""JPEG images and the competition's train.csv -> shards: `python -m preprocess --help`."""
