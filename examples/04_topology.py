"""Do generated people have the network topology of real ones?

Simulates a cohort, fits the generator, draws one new person for every held-out one, and compares their topology measure by measure: beside
it what two halves of the held-out people differ by, which is chance, and what expected connectomes (averages, not people) would give.
Then asks bctpy for the same numbers. Writes output/04_topology.png.
"""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import connectome_gnn as cg

cohort = cg.simulate_cohort(n_people=300, n_regions=48, n_phenotypes=20, seed=0)
train, test = cohort.split(0.6, seed=0)
model = cg.ConnectomeGenerator(seed=0).fit(train)

measures = ["density", "strength", "clustering", "global_efficiency", "local_efficiency", "betweenness", "modularity", "assortativity"]
real, people, averages = (
    cg.topology.measure(one, [*measures, "rich_club"], seed=0)
    for one in (test, model.sample(test.phenotypes, n=1, seed=1), model.expected(test.phenotypes))
)
print(cg.topology.list_measures().loc[measures, ["level", "weights", "cost", "citation"]].to_string())

distances = cg.topology.compare(people, real)
distances["ks_of_averages"] = cg.topology.compare(averages, real)["ks_half"]
print(distances[["level", "ks_half", "ks_split_half", "ks_of_averages"]].round(3))

# The same numbers from the library of the field, one person at a time; cohorts are in single precision.
few = ["strength", "clustering", "global_efficiency", "betweenness", "assortativity"]
ours, theirs = (cg.topology.measure(test.take(np.arange(3)), few, backend=backend) for backend in (None, "bctpy"))
for name in few:
    print(f"{name}: largest difference from bctpy {np.abs(ours[name] - theirs[name]).max() / np.abs(theirs[name]).max():.1e}")

figure, (above, below) = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
colours = {"held-out people": "black", "generated people": "tab:blue", "expected connectomes": "tab:orange"}
tables = dict(zip(colours, (real, people, averages), strict=True))
for axis, name in zip([*above, below[0]], ["density", "global_efficiency", "modularity", "assortativity"], strict=True):
    bins = np.histogram_bin_edges(np.concatenate([table[name] for table in tables.values()]), 30)
    for who, table in tables.items():
        axis.hist(table[name], bins, density=True, histtype="step", linewidth=1.6, color=colours[who], label=who)
    axis.set(xlabel=name.replace("_", " "), yticks=[])
above[0].set_ylabel("people")
above[0].legend(frameon=False, fontsize=8)

for who, table in tables.items():
    club = table["rich_club"]
    shown = np.isfinite(club).mean(0) > 0.5
    below[1].plot(np.flatnonzero(shown), np.nanmedian(club[:, shown], 0), color=colours[who])
below[1].set(xlabel="regions of more than k edges", ylabel="rich-club coefficient")

rows = np.arange(len(measures))
for shift, column, colour in ((0, "ks_half", "tab:blue"), (0.27, "ks_of_averages", "tab:orange"), (-0.27, "ks_split_half", "grey")):
    label = {"ks_half": "generated", "ks_of_averages": "expected", "ks_split_half": "chance"}[column]
    below[2].barh(rows + shift, distances.loc[measures, column], height=0.25, color=colour, label=label)
below[2].set(
    yticks=rows,
    yticklabels=[name.replace("_", " ") for name in measures],
    xlabel="Kolmogorov-Smirnov distance",
    xlim=(0, 1.5),
    xticks=[0, 0.5, 1],
)
below[2].invert_yaxis()
below[2].legend(frameon=False, fontsize=8)

output = Path(__file__).parent / "output"
output.mkdir(exist_ok=True)
figure.savefig(output / "04_topology.png", dpi=110)
