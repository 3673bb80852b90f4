"""Our sparse autoencoder against the package `dictionary-learning` on the same features: variance unexplained.

    pip install dictionary-learning
    python recipes/benchmarks/sae_library.py --features data/cifar10-resnet56-features.npz:train_features

Equal factors, active factors, steps and batches, the same standardised rows, float32, one thread. The library with its
own learning rate and with two larger ones; a factor counts as dead for its auxiliary loss after one pass, as in ours.
"""

from __future__ import annotations

import argparse
import time

import torch

from dynsel.features import load_features
from dynsel.sae import fit_sae


def library_fvu(rows: torch.Tensor, factors: int, k: int, steps: int, batch: int, lr: float | None, seed: int) -> float:
    """Fraction of variance unexplained on all rows after training by the library's own trainer."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(
        steps,
        rows.shape[1],
        factors,
        k,
        0,
        "none",
        lr=lr,
        warmup_steps=min(1000, steps // 20),
        decay_start=int(0.8 * steps),
        threshold_start_step=steps,
        seed=seed,
        device="cpu",
    )
    trainer.dead_feature_threshold = len(rows)
    generator = torch.Generator().manual_seed(seed)
    per_pass = -(-len(rows) // batch)
    for step in range(steps):
        if step % per_pass == 0:
            parts = torch.randperm(len(rows), generator=generator).tensor_split(per_pass)
        trainer.update(step, rows[parts[step % per_pass]])
    with torch.no_grad():
        error = sum(
            float((trainer.ae.decode(trainer.ae.encode(x, use_threshold=False)) - x).square().sum())
            for x in rows.split(4096)
        )
    return error / float((rows - rows.mean(0)).square().sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", required=True)
    parser.add_argument("--factors", type=int, default=512)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--epochs", type=int, nargs="+", default=[21])
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    features = load_features(options.features)
    rows = torch.tensor(features).float()
    rows = (rows - rows.mean(0)) / (rows - rows.mean(0)).square().mean().sqrt()
    for epochs in options.epochs:
        steps = epochs * -(-len(rows) // options.batch_size)
        for name, lr in (("ours", 3e-3), ("library, its own", None), ("library", 1e-3), ("library", 3e-3)):
            start, found = time.process_time(), []
            for seed in range(options.seeds):
                if name == "ours":
                    common = {"num_factors": options.factors, "k": options.k, "batch_size": options.batch_size}
                    found.append(fit_sae(features, epochs=epochs, lr=lr or 0, seed=seed, device="cpu", **common).fvu)
                else:
                    sizes = (options.factors, options.k, steps, options.batch_size)
                    found.append(library_fvu(rows, *sizes, lr, seed))
            seconds = (time.process_time() - start) / options.seeds
            rate = "" if lr is None else f" lr {lr:g}"
            print(
                f"{name}{rate}: {steps} steps, fvu {', '.join(f'{value:.4f}' for value in found)}; "
                f"mean {sum(found) / len(found):.4f}, {seconds:.0f} s each",
                flush=True,
            )


if __name__ == "__main__":
    main()
