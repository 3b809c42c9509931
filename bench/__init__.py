"""Each benchmark pairs the product with a baseline in one run: `python -m bench --help`."""
