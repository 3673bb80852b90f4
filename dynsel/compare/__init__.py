"""`dynsel compare`: selectors against each other at equal optimiser steps."""

from dynsel.compare.record import RunRecord
from dynsel.compare.store import Store
from dynsel.compare.summary import Row, summarise

__all__ = ["Row", "RunRecord", "Store", "summarise"]
