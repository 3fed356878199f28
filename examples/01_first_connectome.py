"""How does a connectome follow from a profile?

Simulates a cohort, fits the generator, and draws one held-out person four ways: as they are, as expected from their profile, and as two
people who could have that profile. Writes output/01_first_connectome.png.
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import connectome_gnn as cg
from connectome_gnn.edges import to_matrices

cohort = cg.simulate_cohort(n_people=300, n_regions=48, n_phenotypes=20, seed=0)
train, test = cohort.split(0.8, seed=0)
model = cg.ConnectomeGenerator(seed=0).fit(train)
print(model.earned.round(4))

one = test.phenotypes.iloc[:1]
expected = model.expected(one)
people = model.sample(one, n=2, seed=1)

panels = {
    f"{one.index[0]}, as measured": test.weights[0],
    "expected from the profile": expected.weights[0],
    "a person with this profile": people.weights[0],
    "another one": people.weights[1],
}
figure, axes = plt.subplots(1, 4, figsize=(15, 4), layout="constrained")
top = np.log1p(test.weights[0]).max()
for axis, (title, weights) in zip(axes, panels.items(), strict=True):
    image = axis.imshow(to_matrices(np.log1p(weights)), vmin=0, vmax=top, cmap="magma")
    axis.set(title=title, xticks=[], yticks=[])
    axis.set_xlabel(f"{np.mean(weights == 0):.0%} of edges absent")
figure.colorbar(image, ax=axes, label="log(1 + streamlines)", shrink=0.8)

output = Path(__file__).parent / "output"
output.mkdir(exist_ok=True)
figure.savefig(output / "01_first_connectome.png", dpi=120)

scores = cg.evaluate(model.expected(test.phenotypes), test, reference=train)
print(scores.summary())
