"""What was asked for and cannot be had: refused where nothing else was asked for, else said."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence

from connectome_gnn.attribution.plan import Plan
from connectome_gnn.columns import listed
from connectome_gnn.errors import ConnectomeError, ConnectomeWarning

__all__ = ["OF_SAMPLES", "check_options"]

OF_SAMPLES = ("contribution", "shapley")
"""Methods of scores that only samples have."""

UNMAPPED = ("gradient",)
"""Methods that have no maps over regions and networks."""

MAPS = ("region", "network")


def check_options(plan: Plan, asked: Collection[str], *, score: str, sampled: bool, has_gradients: bool) -> None:
    """Refuse a request of which nothing can be had, and warn of parts that cannot.

    Parameters
    ----------
    plan : what would be done, defaults included.
    asked : names of the options that the user gave, in place of defaults, of which what can be had is taken.
    score : its name.
    sampled : whether it takes samples of every coalition.
    has_gradients : whether gradients can be taken through the model.

    Raises
    ------
    ConnectomeError
        If an option asks for nothing that can be had.

    Warns
    -----
    ConnectomeWarning
        Of what is left out of what was asked for by name.
    """
    left: list[str] = []

    def only(option: str, given: Sequence[str], possible: Collection[str], why: str) -> None:
        gone = [name for name in given if name not in possible]
        if option not in asked or not gone:
            return
        if len(gone) == len(given):
            raise ConnectomeError(f"{option}={', '.join(map(repr, gone))} cannot be had: {why}")
        left.append(f"{option}: {listed(gone)} left out: {why}")

    if sampled:
        only("methods", plan.methods, OF_SAMPLES, f"score {score} is attributed by {listed(OF_SAMPLES)} alone")
        only("missing", plan.missing, ("reference",), f"score {score} takes samples, which know unknown phenotypes as missing only")
        only("by", plan.by, ("group", "phenotype"), f"score {score} is one number for the whole brain")
        only("global_strength", plan.global_strength, ("keep",), f"score {score} has no maps, of which total strength would be taken out")
        if "by" in asked and "phenotype" in plan.by and "phenotypes" not in asked:
            left.append(f"by: 'phenotype' left out: score {score} takes samples of everybody for each; name some in phenotypes=")
    else:
        if not has_gradients:
            others = [method for method in plan.methods if method != "gradient"]
            only("methods", plan.methods, others, "gradients are taken through a ConnectomeGenerator that was not fine-tuned")
        if set(plan.methods) <= set(UNMAPPED):
            only("by", plan.by, ("group", "phenotype"), "gradients of the score have no maps; see regional_gradients")
            only("missing", plan.missing, ("reference",), "gradients go from missing to known; there are none given other phenotypes")
        if "phenotypes" in asked and "by" in asked and "phenotype" not in plan.by:
            left.append("phenotypes: single ones are reported with by='phenotype', which was not asked for")
        if not plan.mapped and "edge" not in plan.by:
            only("global_strength", plan.global_strength, ("keep",), "it is taken out of maps, and by= asks for none")
    for text in left:
        warnings.warn(text, ConnectomeWarning, stacklevel=3)
