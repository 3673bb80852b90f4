"""Top-k sparse autoencoder: what the features of a data set are made of, and how often each part occurs."""

from dynsel.sae.again import train_again
from dynsel.sae.codes import SparseCodes, encode, encode_blocks, load_codes, save_codes
from dynsel.sae.files import load_sae, save_sae
from dynsel.sae.fit import SAEFit, fit_sae
from dynsel.sae.model import TopKSAE

__all__ = [
    "SAEFit",
    "SparseCodes",
    "TopKSAE",
    "encode",
    "encode_blocks",
    "fit_sae",
    "load_codes",
    "load_sae",
    "save_codes",
    "save_sae",
    "train_again",
]
