"""Generated satellite images in the competition's format: a layout, painted, written as a data set."""
