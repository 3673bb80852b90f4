"""Lightning's Trainer on two workers of Ray Train: `python ray_checks.py FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]


def fit(settings: dict[str, Any]) -> None:
    """What each worker does: a fit that saves after every step, and one that is resumed from the eighth."""
    import ray.train
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment
    from support import Module, SaveEvery, selection, train_loader, trainer

    rank, folder = ray.train.get_context().get_world_rank(), Path(settings["folder"])

    def run(*callbacks: Any, ckpt_path: Any = None) -> tuple[Any, Any]:
        import lightning.pytorch as pl

        pl.seed_everything(1, verbose=False)
        chosen, module = selection(seed=3), Module()
        one = trainer(
            chosen, *callbacks, devices="auto", strategy=RayDDPStrategy(), plugins=[RayLightningEnvironment()]
        )
        one.fit(module, train_loader(), ckpt_path=ckpt_path)
        return chosen, module

    saver = SaveEvery(folder / "saved")
    chosen, module = run(saver)
    _, again = run(ckpt_path=saver.paths[7])
    found = {
        "seen": [module.seen[epoch] for epoch in sorted(module.seen)],
        "usage": chosen.selector.usage.tolist(),
        "trained": [record.samples_trained for record in chosen.history],
        "rest": [again.seen[epoch] for epoch in sorted(again.seen)],
        "same": all(
            (a == b).all().item()
            for a, b in zip(module.state_dict().values(), again.state_dict().values(), strict=True)
        ),
    }
    (folder / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    folder = sys.argv[1]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=True)
    TorchTrainer(
        fit,
        train_loop_config={"folder": folder},
        scaling_config=ScalingConfig(num_workers=2, use_gpu=False, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=folder, name="ray"),
    ).fit()
    ray.shutdown()
