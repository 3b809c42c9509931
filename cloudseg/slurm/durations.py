"""Durations in the formats of Slurm."""

from __future__ import annotations


def seconds(text: str) -> float | None:
    """Seconds of a Slurm duration: "30" (minutes), "10:00", "2:30:00", "1-12", "1-12:30:00".

    None for UNLIMITED and for text that is no duration.
    """
    days, separator, rest = text.strip().rpartition("-")
    parts = rest.split(":")
    if not all(part.isdecimal() for part in parts) or (separator and not days.isdecimal()) or len(parts) > 3:
        return None
    numbers = [int(part) for part in parts]
    if separator:
        hours, minutes, rest_s = [*numbers, 0, 0][:3]
    elif len(numbers) == 1:
        hours, minutes, rest_s = 0, numbers[0], 0
    else:
        hours, minutes, rest_s = [0, *numbers][-3:]
    return float(((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + rest_s)


def text(seconds: int) -> str:
    """A number of seconds in the format of sbatch --time, for example "26:03:00"."""
    return f"{seconds // 3600:02}:{seconds % 3600 // 60:02}:{seconds % 60:02}"
