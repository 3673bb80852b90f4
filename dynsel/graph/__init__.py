"""Neighbour graphs of the features and their spectra."""

from dynsel.graph.neighbours import (
    connect,
    cosine_graphs,
    fiedler_vectors,
    fuzzy_graph,
    laplacian,
    nearest_neighbours,
    spectral_embedding,
)

__all__ = [
    "connect",
    "cosine_graphs",
    "fiedler_vectors",
    "fuzzy_graph",
    "laplacian",
    "nearest_neighbours",
    "spectral_embedding",
]
