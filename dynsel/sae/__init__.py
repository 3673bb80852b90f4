"""Top-k sparse autoencoder: what the features of a data set are made of, and how often each part occurs."""

from dynsel.sae.model import SAEFit, SparseCodes, TopKSAE, encode, encode_blocks, fit_sae, load_sae, save_sae

__all__ = ["SAEFit", "SparseCodes", "TopKSAE", "encode", "encode_blocks", "fit_sae", "load_sae", "save_sae"]
