"""Benchmarks of cloudseg against baselines, measured in the same run: `python -m bench --help`."""
