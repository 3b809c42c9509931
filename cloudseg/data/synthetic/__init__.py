"""Generates satellite images in the competition's format: plans a layout, paints it, and writes a data set."""
