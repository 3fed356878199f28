"""How do connectomes enter a graph network of your own?

Turns a cohort into PyG graphs, trains a small graph network for a minute to tell people's age, and says how well it does on held-out
people beside the mean.
"""

import torch
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GraphConv, global_mean_pool

import connectome_gnn as cg

torch.manual_seed(0)
train, test = cg.simulate_cohort(n_people=300, n_regions=24, n_phenotypes=8, seed=5, explained=0.2).split(0.8, seed=0)
age = list(train.phenotypes).index("age")
backbone = train.backbone(density=0.3)


class AgeNetwork(torch.nn.Module):
    """Two rounds of weighted messages, mean pooling, one number."""

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.first, self.second, self.out = GraphConv(n_features, 32), GraphConv(32, 32), torch.nn.Linear(32, 1)

    def forward(self, batch):
        """One number a graph, (B,)."""
        weight = torch.log1p(batch.edge_attr[:, 0]) / 10
        state = self.first(batch.x, batch.edge_index, weight).relu()
        state = self.second(state, batch.edge_index, weight).relu()
        return self.out(global_mean_pool(state, batch.batch))[:, 0]


graphs = {name: cohort.graphs(backbone) for name, cohort in (("train", train), ("test", test))}
network = AgeNetwork(graphs["train"][0].num_features)
optimiser = torch.optim.Adam(network.parameters(), lr=0.003)
mean, spread = train.phenotypes["age"].mean(), train.phenotypes["age"].std()
for _ in range(30):
    for batch in DataLoader(graphs["train"], batch_size=32, shuffle=True):
        optimiser.zero_grad()
        ((network(batch) - (batch.phenotypes[:, age] - mean) / spread) ** 2).mean().backward()
        optimiser.step()

with torch.no_grad():
    batch = next(iter(DataLoader(graphs["test"], batch_size=len(test))))
    predicted = network(batch) * spread + mean
true = batch.phenotypes[:, age]
print(f"mean absolute error: {(predicted - true).abs().mean():.1f} years; predicting the mean: {(true - mean).abs().mean():.1f} years")
