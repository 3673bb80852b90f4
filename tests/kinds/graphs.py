"""Graphs by torch-geometric: one batch is one large graph, whose nodes know their sample by `batch.batch`."""

from __future__ import annotations

from typing import Any

import torch
from kinds.table import BATCH, LOSSES, ROWS, Module, Training, kind
from torch import Tensor, nn
from torch.nn import functional as F

N = 40


def molecules(node_labels: bool = False, target: bool = False) -> list[Any]:
    """Graphs of four to nine nodes."""
    from torch_geometric.data import Data

    graphs = []
    for i in range(N):
        n = int(torch.randint(4, 10, ()))
        edges = torch.randint(0, n, (2, 3 * n))
        if node_labels:
            y: Any = torch.randint(0, 3, (n,))
        else:
            y = torch.randn(1) * 2 if target else torch.tensor([i % 3])
        graphs.append(Data(x=torch.randn(n, 5), edge_index=edges, y=y, labelled=torch.rand(n) < 0.6))
        graphs[-1].labelled[0] = True
    return graphs


class Network(nn.Module):
    def __init__(self, outputs: int = 3, pooled: bool = True) -> None:
        super().__init__()
        from torch_geometric.nn import GCNConv

        self.first, self.second = GCNConv(5, 12), GCNConv(12, 12)
        self.head, self.pooled = nn.Linear(12, outputs), pooled

    def forward(self, graph: Any) -> Tensor:
        from torch_geometric.nn import global_mean_pool

        x = self.first(graph.x, graph.edge_index).relu()
        x = self.second(x, graph.edge_index)
        return self.head(global_mean_pool(x, graph.batch) if self.pooled else x)


def training(step: Any, graphs: list[Any], net: nn.Module) -> Training:
    from torch_geometric.loader import DataLoader

    return Training(Module(step, net=net), DataLoader(graphs, batch_size=BATCH, shuffle=True), dataset=graphs)


@kind(LOSSES, hears="cross_entropy", also=("random", "el2n", "infobatch"), ranks=True, resumes=True, classifies=True)
def graph_classification() -> Training:
    return training(lambda m, graph: F.cross_entropy(m(graph), graph.y), molecules(), Network())


@kind(LOSSES, hears="mse_loss")
def graph_regression() -> Training:
    return training(lambda m, graph: F.mse_loss(m(graph).squeeze(-1), graph.y), molecules(target=True), Network(1))


@kind(ROWS, hears="cross_entropy", classifies=True)
def node_classification_on_many_graphs() -> Training:
    return training(
        lambda m, graph: F.cross_entropy(m(graph), graph.y), molecules(node_labels=True), Network(pooled=False)
    )


@kind(ROWS, hears="cross_entropy")
def node_classification_of_the_labelled() -> Training:
    def step(m: Any, graph: Any) -> Tensor:
        return F.cross_entropy(m(graph)[graph.labelled], graph.y[graph.labelled])

    return training(step, molecules(node_labels=True), Network(pooled=False))


@kind(LOSSES)
def forces_at_the_nodes() -> Training:
    """Energy of the graph and its derivative at each node, as force fields are trained."""

    def step(m: Any, graph: Any) -> Tensor:
        graph.x.requires_grad_()
        energy = m(graph)
        force = torch.autograd.grad(energy.sum(), graph.x, create_graph=True)[0]
        return F.mse_loss(energy[:, 0], graph.y) + F.mse_loss(force, torch.zeros_like(force))

    return training(step, molecules(target=True), Network(1))
