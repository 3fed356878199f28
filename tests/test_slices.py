"""Consecutive slices: every row once, in order."""

from __future__ import annotations

import pytest

from connectome_gnn.slices import slices


@pytest.mark.parametrize(("n", "size", "ends"), [(7, 3, [3, 6, 7]), (6, 3, [3, 6]), (2, 5, [2]), (0, 4, [])])
def test_every_row_once(n, size, ends):
    found = list(slices(n, size))
    assert [part.stop for part in found] == ends
    assert [row for part in found for row in range(n)[part]] == list(range(n))
