"""Colours of the classes in all figures, from Okabe and Ito's set, which colour-blind people can distinguish."""

from __future__ import annotations

COLOURS = {"Fish": (230, 159, 0), "Flower": (86, 180, 233), "Gravel": (0, 158, 115), "Sugar": (204, 121, 167)}
"""RGB, 0 to 255."""
NO_DATA_COLOUR = (240, 228, 66)
"""Colour of no-data pixels."""


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """Format a colour for matplotlib and HTML, as "#E69F00"."""
    return "#{:02X}{:02X}{:02X}".format(*colour)
