"""One colour for each class in every picture; of Okabe and Ito's set, which the colour-blind tell apart."""

from __future__ import annotations

COLOURS = {"Fish": (230, 159, 0), "Flower": (86, 180, 233), "Gravel": (0, 158, 115), "Sugar": (204, 121, 167)}
"""RGB, 0 to 255."""
NO_DATA_COLOUR = (240, 228, 66)
"""Of pixels without data."""


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """As matplotlib and HTML take it: "#E69F00"."""
    return "#{:02X}{:02X}{:02X}".format(*colour)
