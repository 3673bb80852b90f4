"""Lightning's notices are off for a while, and as they were afterwards, also after an error."""

from __future__ import annotations

import logging
import warnings

import pytest
from lightning.fabric.utilities.warnings import PossibleUserWarning

from dynsel._lib.quiet import quiet


def test_levels_and_filters_come_back():
    logger = logging.getLogger("lightning.pytorch")
    level, filters = logger.level, list(warnings.filters)
    levels = []

    def fail() -> None:
        with quiet():
            levels.append(logger.getEffectiveLevel())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert levels == [logging.ERROR]
    assert logger.level == level
    assert warnings.filters == filters


def test_advice_is_silent_and_other_warnings_are_not():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with quiet():
            warnings.warn("more workers", PossibleUserWarning, stacklevel=1)
            warnings.warn("yours", UserWarning, stacklevel=1)
    assert [str(w.message) for w in caught] == ["yours"]
