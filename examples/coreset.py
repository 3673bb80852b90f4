"""A subset chosen once, before any training, from features alone.

For whoever wants to store, label or publish less data. The report says how far the subset is from the whole set, beside
random subsets of the same size.
"""

import torch
from sklearn.datasets import load_digits
from torch.utils.data import Subset, TensorDataset

from dynsel.coreset import coreset_report, select_coreset

if __name__ == "__main__":
    pixels, labels = load_digits(return_X_y=True)
    pixels = torch.as_tensor(pixels, dtype=torch.float32) / 16
    labels = torch.as_tensor(labels)
    subset = select_coreset("k-center", pixels, labels, keep_ratio=0.1, seed=0)
    data = Subset(TensorDataset(pixels, labels), subset.tolist())
    print(f"{len(data)} of {len(pixels)} images; of each class {torch.bincount(labels[subset]).tolist()}")
    for name, value in coreset_report(pixels, subset, labels).items():
        print(f"{name}: {value}")
