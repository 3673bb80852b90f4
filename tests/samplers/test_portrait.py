"""A controller in words, before it is bound, bound, and after an epoch."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, TensorDataset

from dynsel import SelectionController
from dynsel.samplers.portrait import facts, html_text, one_line

DATA = TensorDataset(torch.arange(8.0))


def test_what_there_is_to_say_grows():
    controller = SelectionController("random", keep_ratio=0.5, max_epochs=2, seed=1)
    assert one_line(controller, "Mine") == "Mine(Random(), keep_ratio=0.5, seed=1)"
    loader = controller.wrap(DataLoader(DATA, 2))
    for i, _ in enumerate(loader):
        controller.observe(i)
    controller.finish_epoch()
    assert one_line(controller, "Mine") == "Mine(Random(), keep_ratio=0.5, seed=1), 1 epochs, 50.0 % of 8 samples used"
    said = facts(controller)
    assert (said["samples"], said["epochs"], said["samples trained on"], said["coverage"]) == ("8", "1", "4", "50.0 %")
    page = html_text(controller, "<Mine>")
    assert "<caption>&lt;Mine&gt;</caption>" in page
    assert page.count("data:image/png;base64,") == 1


def test_before_an_epoch_there_is_no_picture():
    controller = SelectionController("rrd", keep_ratio=0.5)
    assert "<img" not in html_text(controller, "Mine")
    assert facts(controller)["needs"] == "features"
