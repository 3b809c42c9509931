"""Which gradients travel together."""

from __future__ import annotations

import pytest

from cloudseg.training import buckets


def test_numbers_of_two_kinds_travel_apart():
    found = [list(range(5))[part] for part in buckets.split([1] * 5, 100, ["half", "half", "half", "full", "full"])]
    assert found == [[3, 4], [0, 1, 2]]


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        ([4, 4, 4, 4], 8, [[2, 3], [0, 1]]),
        ([1, 1, 9, 1], 8, [[3], [2], [0, 1]]),
        ([3, 3, 3], 100, [[0, 1, 2]]),
        ([9], 8, [[0]]),
        ([], 8, []),
    ],
)
def test_the_last_layers_leave_first_and_no_message_is_larger_than_it_must_be(sizes, limit, expected):
    found = [list(range(len(sizes)))[part] for part in buckets.split(sizes, limit)]
    assert found == expected
