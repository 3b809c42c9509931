"""JPEG + train.csv -> shards: images/s of the product's command and of two baselines."""
