"""Writes tests/graph/graph_reference.npz: umap-learn's fuzzy graphs, so that tests need not compile umap-learn.

    python -m venv umapvenv && umapvenv/bin/pip install umap-learn==0.5.12
    umapvenv/bin/python tests/programs/umap_reference.py

The file in the repository is of umap-learn 0.5.12, numba 0.68.1, scikit-learn 1.9.1, numpy 2.4.6, Python 3.11.7.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np


def points() -> np.ndarray:
    """Three clusters and some duplicates, so that every branch of the bandwidths is taken."""
    generator = np.random.default_rng(5)
    centres = generator.normal(size=(3, 4)) * 4
    x = (centres[np.arange(60) % 3] + generator.normal(size=(60, 4)) * [[1.0, 0.5, 0.1, 2.0]]).astype(np.float32)
    x[50:] = x[5]  # eleven of the same, more than the smallest scale has neighbours
    x[40] = x[41]
    return x


def umap_graph(x: np.ndarray, k: int) -> np.ndarray:
    """UMAP's graph of each sample and its k - 1 nearest others, dense."""
    from sklearn.metrics import pairwise_distances
    from umap.umap_ import fuzzy_simplicial_set

    distances = pairwise_distances(x.astype(np.float64))
    np.fill_diagonal(distances, -1)  # itself first, whatever its duplicates
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    near = np.maximum(np.take_along_axis(distances, order, 1), 0).astype(np.float32)
    graph, _, _ = fuzzy_simplicial_set(
        x, k, np.random.RandomState(0), "euclidean", knn_indices=order, knn_dists=near
    )  # fmt: skip
    return graph.toarray().astype(np.float32)


def main() -> None:
    x, scales = points(), (5, 15, 30)
    # UMAP counts the sample itself, dynsel doesn't.
    graphs = {f"k{k}": umap_graph(x, k + 1) for k in scales}
    np.savez_compressed(Path(__file__).parents[1] / "graph/graph_reference.npz", points=x, **graphs)


if __name__ == "__main__":
    main()
