"""Whether runs are of masks of 1400x2100, told from the runs of a table alone: by where they end, and by how far apart
those of neighbouring columns lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cloudseg.data.labels import SOURCE_SIZE
from cloudseg.data.rle import Runs
from cloudseg.data.shards import TRUTH_SIZE

SAMPLE = 50
"""How many masks of a table are looked at."""
ENOUGH = 8
"""So many masks, or pairs of columns, are no accident. Of 26,789 published masks (boxes of one class in one image) none
ends within the left sixteenth of the image, and 2 % within the left quarter: 8 of 8 by chance is 3 in 10^14."""
SPECKLE = 100
"""Runs of one column lie less than this apart where a mask has holes; no masks are less high."""


def doubt(masks: Sequence[Runs]) -> str:
    """What speaks against masks being of SOURCE_SIZE, down the columns, and counted from 1; "" if nothing does."""
    masks = [runs for runs in masks if len(runs.starts)]
    if not masks:
        return ""
    height, width = SOURCE_SIZE
    end = max(int(runs.ends[-1]) for runs in masks)
    submitted = TRUTH_SIZE[0] * TRUTH_SIZE[1]
    apart = column_distance(masks)
    if end == 1 and len(masks) > 2:
        return "every mask is the first pixel alone, so this seems to be sample_submission.csv, not train.csv"
    if near(apart, width):
        return "its runs seem to go along the rows of the images, not down their columns as in train.csv"
    if apart and not near(apart, height) and not near(apart, TRUTH_SIZE[0]):
        return f"its masks seem to be {apart} pixels high, not {height}: so far apart are the runs of their columns"
    if near(apart, TRUTH_SIZE[0]) or (not apart and (end == submitted or (end < submitted and len(masks) >= ENOUGH))):
        return (
            f"no run goes beyond pixel {submitted:,} = 350x525, so this seems to be a submission or masks of its size, "
            "not train.csv"
        )
    small = sum(near(column_distance([runs]), TRUTH_SIZE[0]) for runs in masks)
    if small >= ENOUGH // 2:
        return (
            f"{small} of {len(masks)} masks looked at seem to be those of a submission, 350 pixels high, the others not"
        )
    if not apart and end <= height * width // 4 and len(masks) >= ENOUGH:
        return f"no run goes beyond pixel {end:,} of {height * width:,}, so its masks seem to be of another size"
    if _count_from_0(masks):
        return "its runs seem to count the pixels from 0, not from 1: add 1 to every start"
    return ""


def column_distance(masks: Sequence[Runs]) -> int:
    """How many pixels the runs of neighbouring columns lie apart, the height of the masks; 0 if that cannot be told.

    A run that goes on in the next column has a run so far behind it. The distance is that at which most runs have one:
    in a mask of two boxes one above the other, other distances are as common between one run and the next.
    """
    gaps = Counter(gap for runs in masks for gap in np.diff(runs.starts).tolist() if gap >= SPECKLE)
    end = max(int(runs.ends[-1]) for runs in masks)
    heights = (SOURCE_SIZE[0], TRUTH_SIZE[0], *(gap for gap, _ in gaps.most_common(4)))
    # The images are half as wide again as they are high; a tenth more, for edges that are not level.
    followed = {
        gap: sum(int(np.isin(runs.starts + gap, runs.starts).sum()) for runs in masks)
        for gap in heights
        if 20 * end <= 33 * gap * gap
    }
    best = max(followed, key=lambda gap: followed[gap], default=0)
    return best if best and followed[best] >= ENOUGH else 0


def near(apart: int, height: int) -> bool:
    """Whether columns so far apart may be `height` pixels high: where an edge is not level, its runs lie some pixels
    more or less apart."""
    return abs(apart - height) <= height // 20


def doubt_submission(masks: Sequence[Runs]) -> str:
    """What speaks against masks being of the size that is submitted; "" if nothing does. Most masks must agree, as this
    judges what networks say, too, in which two shapes may be alike by chance."""
    height, width = TRUTH_SIZE
    votes = Counter(apart for runs in masks if len(runs.starts) and (apart := column_distance([runs])))
    apart, most = max(votes.items(), key=lambda vote: vote[1], default=(height, 0))
    if near(apart, height) or most < ENOUGH // 2 or 2 * most <= votes.total():
        return ""
    if near(apart, width):
        return "its runs seem to go along the rows of the images; they must go down their columns"
    return f"its masks seem to be {apart} pixels high, not {height}; scale them before they are encoded"


def _count_from_0(masks: Sequence[Runs]) -> bool:
    """Whether runs begin at the last pixel of a column and go on in the next, as those that begin at the upper border
    do if they are counted from 0, far more often than runs begin where those should."""
    height = SOURCE_SIZE[0]
    first = np.concatenate([runs.starts[runs.ends - runs.starts > 1] for runs in masks]) % height
    early, right = int((first == height - 1).sum()), int((first == 0).sum())
    return early >= ENOUGH and early > 4 * right
