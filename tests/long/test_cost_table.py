"""The table of layer costs, held against every network."""

from __future__ import annotations

import pytest

from cloudseg.nets import cost_table
from tests.train.test_cost import holds


@pytest.mark.parametrize("name", cost_table.known())
def test_the_table_says_what_the_network_says(name):
    holds(name, [(96, 192)])
