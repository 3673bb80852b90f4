"""Neighbour graphs of the features and their spectra.

The usual chain is `nearest_neighbours` → `fuzzy_graph` → `connect` → `spectral_embedding`; `cosine_graphs` and
`fiedler_vectors` are for many small graphs at once.
"""

from dynsel.graph.descent import improve_neighbours
from dynsel.graph.duplicates import duplicate_groups, group_codes
from dynsel.graph.fiedler import cosine_graphs, fiedler_vectors
from dynsel.graph.fuzzy import connect, fuzzy_graph
from dynsel.graph.neighbours import nearest_neighbours
from dynsel.graph.spectra import laplacian, spectral_embedding

__all__ = [
    "connect",
    "cosine_graphs",
    "duplicate_groups",
    "fiedler_vectors",
    "fuzzy_graph",
    "group_codes",
    "improve_neighbours",
    "laplacian",
    "nearest_neighbours",
    "spectral_embedding",
]
