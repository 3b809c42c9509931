"""Checks from the runs of a table that its masks are of 1400x2100 pixels.

Two properties show it: the last pixel of the runs, and the distance between the runs of neighbouring columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cloudseg.data.labels import SOURCE_SIZE
from cloudseg.data.rle import Runs
from cloudseg.data.shards import TRUTH_SIZE

SAMPLE_SIZE = 50
"""Number of masks of a table that are checked."""
MIN_EVIDENCE = 8
"""Number of masks, or of pairs of columns, that is taken as evidence. Of 26,789 published masks (boxes of one class in
one image) none ends within the left sixteenth of the image, and 2 % within the left quarter: the probability of 8 of 8
is 3 in 10^14."""
MAX_HOLE = 100
"""Runs of one column that are closer than this, in pixels, belong to a mask with holes; every mask is higher."""


def size_problem(masks: Sequence[Runs]) -> str:
    """Return why masks seem not to be of SOURCE_SIZE, in column order, with pixels counted from 1; "" if they are."""
    masks = [runs for runs in masks if len(runs.starts)]
    if not masks:
        return ""
    height, width = SOURCE_SIZE
    end = max(int(runs.ends[-1]) for runs in masks)
    submitted = TRUTH_SIZE[0] * TRUTH_SIZE[1]
    distance = column_distance(masks)
    short = end == submitted or (end < submitted and len(masks) >= MIN_EVIDENCE)
    if end == 1 and len(masks) > 2:
        return "every mask is the first pixel only, so this seems to be sample_submission.csv, not train.csv"
    if is_close(distance, width):
        return "its runs seem to go along the rows of the images, not down their columns as in train.csv"
    if distance and not is_close(distance, height) and not is_close(distance, TRUTH_SIZE[0]):
        return (
            f"its masks seem to be {distance} pixels high, not {height}: the distance of runs in neighbouring columns"
        )
    if is_close(distance, TRUTH_SIZE[0]) or (not distance and short):
        return (
            f"no run goes beyond pixel {submitted:,} = 350x525, so this seems to be a submission or masks of its size, "
            "not train.csv"
        )
    small = sum(is_close(column_distance([runs]), TRUTH_SIZE[0]) for runs in masks)
    if small >= MIN_EVIDENCE // 2:
        return f"{small} of {len(masks)} checked masks seem to be of a submission, 350 pixels high, the others not"
    if not distance and end <= height * width // 4 and len(masks) >= MIN_EVIDENCE:
        return f"no run goes beyond pixel {end:,} of {height * width:,}, so its masks seem to be of another size"
    if _counts_from_0(masks):
        return "its runs seem to count the pixels from 0, not from 1: add 1 to every start"
    return ""


def column_distance(masks: Sequence[Runs]) -> int:
    """Distance in pixels between the runs of neighbouring columns, which is the height of the masks; 0 if unknown.

    It is the distance at which most runs have a later run. The distances between consecutive runs do not show it: in a
    mask of two boxes, one above the other, others are as common.
    """
    gaps = Counter(gap for runs in masks for gap in np.diff(runs.starts).tolist() if gap >= MAX_HOLE)
    end = max(int(runs.ends[-1]) for runs in masks)
    heights = (SOURCE_SIZE[0], TRUTH_SIZE[0], *(gap for gap, _ in gaps.most_common(4)))
    # An image is 1.5 times as wide as it is high; the limit is 10 % more, as edges may be slanted.
    followed = {
        gap: sum(int(np.isin(runs.starts + gap, runs.starts).sum()) for runs in masks)
        for gap in heights
        if 20 * end <= 33 * gap * gap
    }
    best = max(followed, key=lambda gap: followed[gap], default=0)
    return best if best and followed[best] >= MIN_EVIDENCE else 0


def is_close(distance: int, height: int) -> bool:
    """Whether a column distance may be of masks of `height`; where an edge is slanted, it differs by some pixels."""
    return abs(distance - height) <= height // 20


def submission_size_problem(masks: Sequence[Runs]) -> str:
    """Return why masks seem not to be of the size of a submission; "" if they are.

    Most masks must agree, as predicted masks may have several shapes that look like a wrong height by chance.
    """
    height, width = TRUTH_SIZE
    votes = Counter(distance for runs in masks if len(runs.starts) and (distance := column_distance([runs])))
    distance, most = max(votes.items(), key=lambda vote: vote[1], default=(height, 0))
    if is_close(distance, height) or most < MIN_EVIDENCE // 2 or 2 * most <= votes.total():
        return ""
    if is_close(distance, width):
        return "its runs seem to go along the rows of the images; they must go down their columns"
    return f"its masks seem to be {distance} pixels high, not {height}; scale them before they are encoded"


def _counts_from_0(masks: Sequence[Runs]) -> bool:
    """Whether the runs count pixels from 0.

    Then runs at the upper border start at the last pixel of the previous column, far more often than at the first
    pixel of a column.
    """
    height = SOURCE_SIZE[0]
    first = np.concatenate([runs.starts[runs.ends - runs.starts > 1] for runs in masks]) % height
    at_end, at_start = int((first == height - 1).sum()), int((first == 0).sum())
    return at_end >= MIN_EVIDENCE and at_end > 4 * at_start
