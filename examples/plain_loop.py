"""A plain PyTorch loop, without Lightning.

The controller wraps the loader and decides each epoch; the loop tells it the losses, which it has at hand anyway.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dynsel import SelectionController

EPOCHS = 5

if __name__ == "__main__":
    torch.manual_seed(0)
    x = torch.randn(1_000, 8)
    dataset = TensorDataset(x, (x[:, 0] * x[:, 1] > 0).long())
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    selection = SelectionController("hybrid", keep_ratio=0.3, max_epochs=EPOCHS, seed=0)
    loader = selection.wrap(DataLoader(dataset, batch_size=50, shuffle=True))
    for epoch in range(EPOCHS):
        loader.sampler.set_epoch(epoch)
        for number, (inputs, targets) in enumerate(loader):
            logits = model(inputs)
            losses = nn.functional.cross_entropy(logits, targets, reduction="none")
            losses.mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            selection.observe(
                number,
                per_sample_loss=losses.detach(),
                value=selection.selector.measure(logits.detach(), targets, None),
            )
    record = selection.finish_epoch()
    print(
        f"{record.samples_trained} times a sample was trained on, {100 * record.coverage:.0f} % of them at least once"
    )
