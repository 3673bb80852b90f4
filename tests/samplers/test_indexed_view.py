"""A stream that can be read by index, as a data set."""

from __future__ import annotations

import pickle

import pytest
from support import Indexed, N

from dynsel.samplers import IndexedView


def test_a_view_is_pickled_and_reads_what_it_stands_for():
    view = pickle.loads(pickle.dumps(IndexedView(Indexed(N))))
    assert (len(view), view[3][2], view.targets) == (N, 3, Indexed(N).targets)
    with pytest.raises(AttributeError):
        _ = view.nothing


def test_a_view_of_what_cannot_be_read_by_index_is_refused():
    with pytest.raises(TypeError, match="must have `__len__` and `__getitem__` to be read by index, got list_iterator"):
        IndexedView(iter([1, 2]))
