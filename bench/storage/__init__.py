"""Layout and codec of a shard: speed of writing, size, speed of random reading."""
