"""How long the search for thresholds and smallest areas takes."""
