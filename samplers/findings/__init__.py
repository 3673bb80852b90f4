"""What a training finds out about its data: wrong labels, duplicates, rare and hard samples.

Training needs the sums and what may be left out; what is made of them (`find`, `page`, `export`) is imported where it
is asked for.
"""

from dynsel.samplers.findings.evidence import Evidence
from dynsel.samplers.findings.excluded import kept_indices
from dynsel.samplers.findings.suspects import suspects_in_words
from dynsel.samplers.findings.table import KINDS, Findings

__all__ = ["KINDS", "Evidence", "Findings", "kept_indices", "suspects_in_words"]
