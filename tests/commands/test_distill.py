"""`dynsel distill` from end to end on digits, its pictures, and what it says to wrong input."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
import torch

from dynsel.commands.main import main
from dynsel.data import DigitsDataModule, DistilledDataset

CONFIG = """
out: {folder}/out
sheet_every: 2
checkpoint_every: 2
distill: {{images_per_class: 1, factor: 1, num_frequencies: 32, real_batch: 16, augment: crop, soft_labels: true}}
pool:
  {{folder: {folder}/pool, networks: 2, epochs: 2, width: 16, batch_size: 64, lr: 0.05, augment: crop, cutmix: false}}
evaluation: {{repeats: 2, epochs: 4, augment: crop, cutmix: false, lr: 0.01}}
data:
  class_path: dynsel.data.DigitsDataModule
  init_args: {{test_share: 0.5}}
trainer: {{max_steps: 4, accelerator: cpu, logger: false, enable_progress_bar: false, enable_model_summary: false}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a finished `fit`."""
    folder = tmp_path_factory.mktemp("distill")
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder))
    assert main(["distill", "fit", "--config", str(folder / "config.yaml")]) == 0
    return folder


def test_fit_writes_images_manifest_checkpoint_and_pictures(made):
    data = DistilledDataset(made / "out", soft=True)
    assert data.images.shape == (10, 1, 8, 8)
    assert data.targets.tolist() == list(range(10))
    assert data.soft_targets.shape == (10, 10)
    manifest = data.manifest
    assert manifest["steps"] == 4
    assert manifest["options"]["num_frequencies"] == 32
    assert manifest["command"].startswith("dynsel distill fit --config")
    assert {"versions", "hardware", "date", "pool"} <= manifest.keys()
    pictures = {path.name for path in (made / "out/sheets").iterdir()}
    assert pictures == {"step-000000.png", "step-000002.png", "step-000004.png", "over-training.png"}
    assert (made / "out/checkpoints/last.ckpt").is_file()


def test_a_resumed_fit_ends_the_same(made, tmp_path):
    config = ["--config", str(made / "config.yaml"), "--out", str(tmp_path)]
    assert main(["distill", "fit", *config, "--trainer.max_steps", "2"]) == 0
    half = DistilledDataset(tmp_path).images
    assert main(["distill", "fit", *config, "--ckpt_path", "last"]) == 0
    whole = DistilledDataset(made / "out").images
    assert torch.equal(DistilledDataset(tmp_path).images, whole)
    assert not torch.equal(half, whole)


@pytest.fixture
def _ctrl_c_works():
    """Whoever runs the tests in the background may have it ignored."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_ctrl_c_works")
def test_an_interrupted_fit_says_how_to_go_on(made, tmp_path, capsys):
    config = ["distill", "fit", "--config", str(made / "config.yaml"), "--out", str(tmp_path)]
    assert main([*config, "--trainer.callbacks+=distill.conftest.CtrlC"]) == 130
    said = "dynsel: interrupted after 3 steps; go on with the same command and `--ckpt_path last`."
    assert said in capsys.readouterr().err
    assert not (tmp_path / "distilled.json").exists()
    assert main([*config, "--ckpt_path", "last"]) == 0
    assert torch.equal(DistilledDataset(tmp_path).images, DistilledDataset(made / "out").images)


def test_export_gives_what_the_checkpoint_holds(made, tmp_path, capsys):
    checkpoint = made / "out/checkpoints/last.ckpt"
    assert main(["distill", "export", "--ckpt_path", str(checkpoint), "--out", str(tmp_path)]) == 0
    found, expected = DistilledDataset(tmp_path), DistilledDataset(made / "out")
    assert torch.equal(found.images, expected.images)
    assert found.classes == expected.classes
    assert "10 synthetic images after 4 steps" in capsys.readouterr().out


def test_evaluate_tabulates(made, capsys):
    assert main(["distill", "evaluate", "--config", str(made / "config.yaml")]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("random real", "herding", "distilled", "last epoch", "best epoch"))
    report = json.loads((made / "out/evaluation.json").read_text())
    assert [r["set"] for r in report["results"]] == ["random real", "herding", "distilled"]
    assert all(len(r["last"]) == len(r["best"]) == 2 for r in report["results"])
    text = (made / "out/evaluation.md").read_text()
    assert text.count("|\n") == 5
    assert "1 images a class, n = 2 networks each" in text


def test_measure_reports_a_selection(tmp_path, capsys):
    data = DigitsDataModule(test_share=0.5)
    data.setup("fit")
    np.savez(tmp_path / "x.npz", x=data.train_set.images.flatten(1).float().numpy(), y=data.train_set.targets.numpy())
    biased = (data.train_set.targets < 5).nonzero()[:, 0].tolist()
    (tmp_path / "subset.json").write_text(json.dumps({"indices": biased, "N": len(data.train_set)}))
    command = ["--features", f"{tmp_path}/x.npz:x", "--labels", f"{tmp_path}/x.npz:y"]
    command += ["--selection", f"{tmp_path}/subset.json", "--out", f"{tmp_path}/report.json", "--steps", "5"]
    assert main(["distill", "measure", *command]) == 0
    assert "× random" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["whole"]["z_score"] > 10
    assert report["classes"]["9"] is None
    assert report["classes"]["0"]["distance"] == pytest.approx(0, abs=1e-9)


# ---------------------------------------------------------------- bad input
WRONG = [
    (["distil"], "unknown command 'distil'; did you mean 'distill'?"),
    (["distill", "train"], "unknown command 'distill train'; there are fit, evaluate, export, measure"),
    (["distill", "fit", "--config", "nowhere.yaml"], "nowhere.yaml"),
    (["distill", "export", "--ckpt_path", "no.ckpt", "--out", "x"], "there is no checkpoint no.ckpt"),
    (["distill", "measure", "--features", "x.npy"], "the following arguments are required: --selection"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_commands(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--distill.images_per_class", "1000"], "`images_per_class` must be at most the size of the smallest class"),
        (["--distill.factor", "3"], "`factor` must divide both sides of the images, got 3 for 8x8"),
        (["--pool.width", "8"], "was made with other settings: width is 16 there, 8 now"),
        (["--trainer.max_steps", "-1"], "`trainer.max_steps` must be set"),
        (
            ["--ckpt_path", "last", "--out", "elsewhere"],
            "there is no checkpoint elsewhere/checkpoints/last.ckpt to go on",
        ),
        (["--distill.modee", "normal"], "modee"),
    ],
)
def test_wrong_options(made, options, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["distill", "fit", "--config", str(made / "config.yaml"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dynsel: error: ")
    assert message in error


def test_a_changed_set_is_not_evaluated(made, tmp_path, capsys):
    for name in ("distilled.json", "distilled.safetensors"):
        (tmp_path / name).write_bytes((made / "out" / name).read_bytes())
    path = tmp_path / "distilled.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    assert main(["distill", "evaluate", "--config", str(made / "config.yaml"), "--out", str(tmp_path)]) == 2
    assert "was changed or is damaged: export it again" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint(tmp_path, capsys):
    (tmp_path / "x.ckpt").write_bytes(b"nothing")
    assert main(["distill", "export", "--ckpt_path", str(tmp_path / "x.ckpt"), "--out", str(tmp_path)]) == 2
    assert "is no checkpoint of `dynsel distill fit`, or a damaged one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "`--selection` must be JSON"), ('{"indices": [99]}', r"`--selection` must hold indices in [0, 20)")],
)
def test_what_is_no_selection(tmp_path, capsys, content, message):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((20, 3), np.float32))
    (tmp_path / "s.json").write_text(content)
    arguments = ["--features", str(tmp_path / "x.npy"), "--selection", str(tmp_path / "s.json")]
    assert main(["distill", "measure", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", [["distill", "--help"], ["distill", "fit", "--help"], ["distill", "measure", "-h"]])
def test_help(command, capsys):
    assert main(command) == 0
    assert "dynsel distill" in capsys.readouterr().out
