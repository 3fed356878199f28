"""Transfer: what a model of a big cohort expects of a small cohort's people, as one more path in the small one's stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.cohort import Cohort
from connectome_gnn.columns import level_text, listed
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.checkpoint import digest
from connectome_gnn.generation.closed_form import ClosedForm
from connectome_gnn.phenotypes import Encoded, Phenotype, PhenotypeSchema

if TYPE_CHECKING:
    from connectome_gnn.generation.generator import ConnectomeGenerator

__all__ = [
    "FINE_TUNED",
    "FROM_SCRATCH",
    "GAINED",
    "SOURCE_ALONE",
    "FineTuned",
    "Origin",
    "Transfer",
    "check_cohort",
    "slim_source",
    "source_digest",
    "source_gain",
]

FROM_SCRATCH, SOURCE_ALONE, FINE_TUNED, GAINED = "from scratch", "source alone", "fine-tuned", "fine-tuned minus from scratch"
"""Rows of the comparison that says whether a source helped."""

GAIN_ERRORS = 2.0
MOST_GAIN = 2.0


@dataclass(frozen=True)
class Origin:
    """A fitted model, and how the profiles of another cohort are read by it.

    Parameters
    ----------
    model : the source.
    shared : phenotypes that both know, by name.
    absent : phenotypes of the source that the other cohort lacks, or that nobody in it has a value of: what the shared ones say of them
        takes their place.
    added : phenotypes that only the other cohort has.
    """

    model: ConnectomeGenerator
    shared: tuple[str, ...]
    absent: tuple[str, ...]
    added: tuple[str, ...]

    @classmethod
    def of(cls, model: ConnectomeGenerator, schema: PhenotypeSchema, table: pd.DataFrame, name: str) -> Origin:
        """Match a source's phenotypes with those of a cohort, called ``name``, by name.

        Raises
        ------
        ConnectomeError
            If they share none, or one of a name is not the same thing: other units, or levels that the source does not know.
        """
        known = {phenotype.name: phenotype for phenotype in schema.phenotypes if table[phenotype.name].notna().any()}
        for source in model.schema.phenotypes:
            if source.name in known:
                _check_same(source, known[source.name], table[source.name], name)
        shared = tuple(phenotype for phenotype in model.schema.names if phenotype in known)
        if not shared:
            raise ConnectomeError(
                f"cohort {name!r} shares no phenotype with the model, so nothing can be transferred: it has {listed(known)}, "
                f"the model {listed(model.schema.names)}; name the same phenotypes alike"
            )
        absent = tuple(phenotype for phenotype in model.schema.names if phenotype not in known)
        return cls(model, shared, absent, tuple(phenotype for phenotype in schema.names if phenotype not in model.schema.names))

    def deviation(self, table: pd.DataFrame) -> NDArray[np.float32]:
        """What the source expects of profiles with the other cohort's columns, (n, the source's kept edges), in its standard deviations."""
        profiles = self.profiles(table)
        return self.model._deviation_of(profiles, self.encoded(profiles))

    def profiles(self, table: pd.DataFrame) -> pd.DataFrame:
        """Profiles with the source's columns: numbers within its range, and nothing where it does not know a level."""
        columns = {}
        for phenotype in self.model.schema.phenotypes:
            if phenotype.name not in self.shared:
                columns[phenotype.name] = pd.Series(np.nan, table.index, dtype=object)
                continue
            column = table[phenotype.name]
            if phenotype.kind == "continuous":
                # Beyond the people that it has seen the source goes no further: squares and products would run away.
                columns[phenotype.name] = pd.Series(np.clip(phenotype.positions(column), phenotype.low, phenotype.high), table.index)
            else:
                columns[phenotype.name] = column.astype(object).where(_known(phenotype, column), np.nan)
        return pd.DataFrame(columns, index=table.index)

    def encoded(self, profiles: pd.DataFrame) -> Encoded:
        """Profiles of :meth:`profiles` as the source's numbers, with what the others say in place of phenotypes that are absent throughout.

        A path learned with both BMI and waist shares an effect between them; where the waist is not known, the BMI stands for it as far as
        the two went together in the source's people.
        """
        encoded = self.model.schema.encode(profiles)
        covariance = self.model.schema.covariance
        absent = np.isin(encoded.owner, [self.model.schema.names.index(name) for name in self.absent])
        if covariance is None or not absent.any():
            return encoded
        try:
            root = np.linalg.cholesky(covariance[np.ix_(~absent, ~absent)])
        except np.linalg.LinAlgError:  # of a noisy covariance
            return encoded
        slopes = np.linalg.solve(root.T, np.linalg.solve(root, covariance[np.ix_(~absent, absent)]))
        values = encoded.values.copy()
        values[:, absent] = values[:, ~absent] @ slopes
        return replace(encoded, values=values)


def _known(phenotype: Phenotype, column: pd.Series) -> NDArray[np.bool_]:
    """Whether each value, (N,), is missing or a level that the phenotype has."""
    codes = set(phenotype.codes)
    if codes <= {"0", "1"}:
        codes |= {"False", "True"}
    return np.array([pd.isna(value) or level_text(value) in codes for value in column], bool)


def _check_same(source: Phenotype, other: Phenotype, column: pd.Series, name: str) -> None:
    """Raise unless a phenotype of one name is the same thing in both; new levels of a category, as a site, are no mistake."""
    if source.units and other.units and source.units != other.units:
        raise ConnectomeError(
            f"phenotype {source.name!r} is in {source.units} in the model's cohort and in {other.units} in cohort {name!r}; convert it, "
            "or give it another name"
        )
    if source.kind == "categorical":
        if other.kind == "continuous" and not _known(source, column.dropna()).any():
            raise ConnectomeError(
                f"phenotype {source.name!r} has levels in the model's cohort and is a number in cohort {name!r}; code it alike, or give it "
                "another name"
            )
        return
    try:
        source.positions(column)
    except ConnectomeError as error:
        raise ConnectomeError(
            f"phenotype {source.name!r} of cohort {name!r} is not what it was in the model's cohort, where it is {source.kind}: {error}; "
            "code it alike, or give it another name"
        ) from error


def check_cohort(model: ConnectomeGenerator, cohort: Cohort) -> None:
    """Raise unless a cohort's connectomes are what a model was fitted to: the same regions in the same order, the same measure."""
    if not isinstance(cohort, Cohort):
        raise ConnectomeError(f"expected a Cohort of observed connectomes, got {type(cohort).__name__}; open a folder with Cohort.load")
    match = model.atlas.match(cohort.atlas)
    if not match.same:
        raise ConnectomeError(
            f"cohort {cohort.name!r} is on another atlas than the model of {model.cohort_name!r}: {match.describe()}; nothing can be "
            "transferred between atlases, fit a model of its own"
        )
    for what in ("signed", "measure"):
        ours, theirs = getattr(model, what), getattr(cohort, what)
        if ours != theirs:
            raise ConnectomeError(
                f"cohort {cohort.name!r} has {what}={theirs!r}, the model of {model.cohort_name!r} has {what}={ours!r}; effects on one "
                "kind of weights say nothing of another, fit a model of its own"
            )


def source_digest(model: ConnectomeGenerator) -> str:
    """Checksum of what a source expects of people."""
    arrays: dict[str, NDArray] = {"maps": model.closed_form.maps, "mean": model.space.mean, "gate": model.gate}
    if model.transfer is not None:
        arrays |= {f"form {number}": form.maps for number, form in enumerate(model.transfer.forms)}
    return digest(arrays, [model.cohort_name, model.n_training, model.schema.to_dict()])


def slim_source(model: ConnectomeGenerator) -> ConnectomeGenerator:
    """What of a fitted model its expectations need; none of what its samples and standard errors do."""
    from connectome_gnn.generation.generator import ConnectomeGenerator

    slim = object.__new__(ConnectomeGenerator)
    slim.__dict__.update(model.__dict__)
    slim.space = replace(model.space, basis=model.space.basis[: len(model.gate) if model.members else 0])
    slim.closed_form = replace(model.closed_form, basis=slim.space.basis, without=())
    if model.transfer is not None:
        forms = tuple(replace(form, basis=slim.space.basis, without=()) for form in model.transfer.forms)
        slim.transfer = replace(model.transfer, forms=forms)
    slim.people, slim.holds_training_people, slim._knows_people = None, False, False
    slim.__dict__.pop("residual", None)
    return slim


def source_gain(expected: NDArray[np.float64], real: NDArray[np.float64], units: NDArray[np.intp]) -> float:
    """How strong a source's expectations are in other people, 0 where nothing of them is found there.

    Weighted least squares: components count by the inverse of their variance, so that the few strong ones, in which people differ most
    whatever their profiles, do not decide alone. 0 unless above twice its standard error over people (a sandwich, since components are
    correlated); at most 2.

    Parameters
    ----------
    expected, real : (n, K) components of what the source expects of people, and of the people; components that were found in others.
    units : (n,) people who belong together.
    """
    expected, real = expected - expected.mean(0), real - real.mean(0)
    variance = real.var(0)
    used = variance > 1e-9 * variance.max(initial=0)
    whitened = expected[:, used] / variance[used]
    along, energy = (whitened * real[:, used]).sum(1), (whitened * expected[:, used]).sum(1)
    if energy.sum() <= 1e-9 * len(real):
        return 0.0
    gain = along.sum() / energy.sum()
    error = np.sqrt((np.bincount(units, along - gain * energy) ** 2).sum()) / energy.sum()
    return float(min(gain, MOST_GAIN)) if gain > GAIN_ERRORS * error else 0.0


@dataclass(frozen=True)
class Transfer:
    """What a fine-tuned generator's mean has beside its own closed form, and whether it helped.

    Parameters
    ----------
    origin : the source, without what only its samples need; None where nothing of it is used.
    gain : how strong its expectations are here, 0 where nothing of it is used.
    own, theirs : (C,) places of the edges that both model, among the kept edges of either.
    centre : (kept edges,) float32 what the source expects of the small cohort's people on average.
    forms : closed forms beside the generator's own: what the source leaves, from all phenotypes and from those that it does not know.
    comparison : table of :data:`FROM_SCRATCH`, :data:`SOURCE_ALONE`, :data:`FINE_TUNED` and the difference: ``r2`` beyond the mean of
        people left out, with its 95 % interval ``low``, ``high``: a bootstrap over the small cohort's people, whoever scored them. It says
        how far other people of that cohort would move the score of these fits by this source. Not in it: that another small cohort would
        give other fits, and that other people of the big cohort would give another source.
    source_name, source_people, source_promise : the source's cohort, its number of people, and epsilon where it kept differential privacy.
    shared, absent, added : phenotypes known to both, to the source alone, and to the small cohort alone.
    blended : share of the source's dependence between edges in how people differ around the mean.
    """

    origin: Origin | None
    gain: float
    own: NDArray[np.intp]
    theirs: NDArray[np.intp]
    centre: NDArray[np.float32]
    forms: tuple[ClosedForm, ...]
    comparison: pd.DataFrame
    source_name: str
    source_people: int
    source_promise: float | None
    shared: tuple[str, ...]
    absent: tuple[str, ...]
    added: tuple[str, ...]
    blended: float = 0.0

    def deviation(self, table: pd.DataFrame, encoded: Encoded) -> NDArray[np.float32]:
        """What source and further forms add to the expected deviations of profiles, (n, kept edges)."""
        deviation = np.zeros((len(table), len(self.centre)), np.float32)
        for form in self.forms:
            deviation += form.design(encoded) @ form.maps
        if self.origin is not None:
            deviation[:, self.own] += np.float32(self.gain) * self.origin.deviation(table)[:, self.theirs]
            deviation -= np.float32(self.gain) * self.centre
        return deviation

    @property
    def helped(self) -> str:
        """Whether the source helped, in a sentence."""
        scratch, _, tuned, gained = (self.comparison.loc[row] for row in (FROM_SCRATCH, SOURCE_ALONE, FINE_TUNED, GAINED))
        numbers = (
            f"R2 {tuned.r2:.4f} fine-tuned against {scratch.r2:.4f} from scratch on people left out, difference {gained.r2:+.4f} "
            f"[{gained.low:.4f}, {gained.high:.4f}]"
        )
        who = f"the model of {self.source_name!r}"
        if self.origin is None:
            return f"{who} did not help: what it expects was not found in these people, so the model is the one from scratch ({numbers})"
        if gained.low > 0:
            return f"{who} helped: {numbers}"
        if gained.high < 0:
            return f"{who} made it worse: {numbers}; fit a model of its own"
        return f"whether {who} helped is not certain: {numbers}"


@dataclass(frozen=True)
class FineTuned:
    """A model to be fine-tuned on whatever people it is fitted to, as :func:`~connectome_gnn.generation.comparison.compare` wants models.

    Parameters
    ----------
    source : the model that it starts from.
    seed : as for :meth:`connectome_gnn.ConnectomeGenerator.finetune`.
    """

    source: ConnectomeGenerator
    seed: int = 0

    def fit(self, cohort: Cohort) -> ConnectomeGenerator:
        """The source fine-tuned on these people, for its mean."""
        return self.source.finetune(cohort, seed=self.seed, distribution=False)
