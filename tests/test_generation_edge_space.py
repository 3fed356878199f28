"""Standardised edges and their principal components are what numpy says they are, on training people alone."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from fitted import modelled
from tiny import make_atlas, make_cohort, make_phenotypes, make_weights

from connectome_gnn.cohort import Cohort
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.generation.edge_space import EdgeSpace
from connectome_gnn.simulate import simulate_cohort


def cohort_of(weights: np.ndarray, signed: bool = False) -> Cohort:
    n_regions = int((1 + np.sqrt(1 + 8 * weights.shape[1])) / 2)
    return make_cohort(
        len(weights), n_regions, signed, weights=weights, atlas=make_atlas(n_regions), phenotypes=make_phenotypes(len(weights))
    )


def by_hand(cohort: Cohort, space: EdgeSpace) -> np.ndarray:
    values = modelled(cohort)
    return ((values - values.mean(0)) / np.where(values.std(0) > 0, values.std(0), 1))[:, space.kept]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("n_people", "n_regions"), [(30, 12), (560, 7)])
def test_components_are_those_of_a_singular_value_decomposition(n_people, n_regions, signed):
    cohort = cohort_of(make_weights(n_people, n_regions, signed), signed)
    space, scores = EdgeSpace.fit(cohort)
    z = by_hand(cohort, space)
    left, strength, right = np.linalg.svd(z, full_matrices=False)
    k = min(n_people - 1, z.shape[1])
    assert space.basis.shape == (k, z.shape[1])
    assert scores.shape == (n_people, k)
    np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(k), atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(scores, axis=0), strength[:k], rtol=1e-4)
    # Components whose strengths lie close together may turn into one another; the subspaces up to each clear gap are equal.
    for cut in np.flatnonzero(np.append(strength[: k - 1] / strength[1:k], np.inf) > 1.02) + 1:
        np.testing.assert_allclose(space.basis[:cut].T @ space.basis[:cut], right[:cut].T @ right[:cut], atol=1e-3)
    agreement = np.abs(space.basis[0] @ right[0])
    assert agreement == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(np.abs(scores[:, 0]), np.abs(left[:, 0]) * strength[0], atol=1e-3 * strength[0])
    np.testing.assert_allclose(scores @ space.basis, z, atol=1e-3)  # every component is kept: nothing is lost
    largest = np.take_along_axis(space.basis, np.abs(space.basis).argmax(1)[:, None], 1)
    assert (largest > 0).all()


def test_randomised_components_capture_what_exact_ones_do():
    cohort = simulate_cohort(700, 26, 5, seed=0)
    space, scores = EdgeSpace.fit(cohort, n_components=40, seed=3)
    z = by_hand(cohort, space)
    strength = np.linalg.svd(z, compute_uv=False)
    assert space.n_components == 40
    captured = (scores**2).sum() / (strength[:40] ** 2).sum()
    assert 0.995 < captured < 1.00001
    np.testing.assert_allclose((scores[:, :20] ** 2).sum(0), strength[:20] ** 2, rtol=2e-3)
    np.testing.assert_allclose(space.basis @ space.basis.T, np.eye(40), atol=1e-4)
    np.testing.assert_allclose(scores, z @ space.basis.T, atol=1e-3)
    again, _ = EdgeSpace.fit(cohort, n_components=40, seed=3)
    assert again.basis.tobytes() == space.basis.tobytes()
    other, _ = EdgeSpace.fit(cohort, n_components=40, seed=4)
    assert other.basis.tobytes() != space.basis.tobytes()


def test_more_components_than_edges_or_people_cannot_be_asked_for():
    cohort = cohort_of(make_weights(640, 6))
    space, scores = EdgeSpace.fit(cohort, n_components=300)
    assert space.n_components <= 15
    np.testing.assert_allclose((scores**2).sum(), (by_hand(cohort, space) ** 2).sum(), rtol=1e-4)


def test_statistics_are_training_peoples():
    weights = make_weights(40, 7)
    everybody = cohort_of(weights.copy())
    rows = np.arange(0, 40, 2)
    space, scores = EdgeSpace.fit(everybody.take(rows))
    values = np.log1p(weights[rows].astype(np.float64))
    np.testing.assert_allclose(space.mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(space.std, values.std(0), rtol=1e-4)
    np.testing.assert_allclose(space.presence, (values != 0).mean(0), rtol=1e-6)
    weights[1::2] = weights[1::2] * 50 + 7
    same, same_scores = EdgeSpace.fit(cohort_of(weights).take(rows))
    assert same_scores.tobytes() == scores.tobytes()
    for name in ("mean", "std", "presence", "kept", "basis"):
        assert getattr(same, name).tobytes() == getattr(space, name).tobytes()


def test_constant_and_rare_edges_are_not_modelled():
    weights = make_weights(40, 7) + 1
    weights[:, 3] = 1000.3
    weights[:, 5] = 0
    weights[:21, 8] = 0
    weights[:20, 9] = 0
    cohort = cohort_of(weights)
    space, _ = EdgeSpace.fit(cohort)
    np.testing.assert_array_equal(np.flatnonzero(~space.kept), [3, 5, 8])
    values = space.values(np.ones((2, int(space.kept.sum())), np.float32))
    np.testing.assert_allclose(values[:, ~space.kept], np.tile(space.mean[~space.kept], (2, 1)))
    np.testing.assert_allclose(values[:, space.kept], np.tile((space.mean + space.std)[space.kept], (2, 1)), rtol=1e-6)


def test_values_undo_standardising():
    cohort = cohort_of(make_weights(50, 7))
    space, scores = EdgeSpace.fit(cohort)
    back = space.values((scores @ space.basis).astype(np.float32))
    np.testing.assert_allclose(back[:, space.kept], modelled(cohort)[:, space.kept], atol=1e-3)


@pytest.mark.parametrize("n_people", [30, 700])
def test_a_float16_memory_map_is_read_and_left_alone(tmp_path, n_people):
    weights = make_weights(n_people, 8, signed=True).astype(np.float16)
    np.save(tmp_path / "w.npy", weights)
    before = (tmp_path / "w.npy").read_bytes()
    mapped = np.load(tmp_path / "w.npy", mmap_mode="r")
    space, scores = EdgeSpace.fit(cohort_of(mapped, True))
    plain, plain_scores = EdgeSpace.fit(cohort_of(weights.astype(np.float32), True))
    assert scores.tobytes() == plain_scores.tobytes()
    assert space.basis.tobytes() == plain.basis.tobytes()
    assert (tmp_path / "w.npy").read_bytes() == before


def test_statistics_do_not_mind_who_comes_first():
    """A first site of 512 people without edge 0, and with edge 1 a thousand times stronger."""
    weights = make_weights(1400, 7) + 50
    weights[:512, 0] = 0
    weights[:512, 1] *= 1000
    cohort = cohort_of(weights)
    space, _ = EdgeSpace.fit(cohort, n_components=5)
    values = modelled(cohort)
    np.testing.assert_allclose(space.mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(space.std, values.std(0), rtol=1e-5)


def test_the_map_is_read_four_times_and_nothing_of_its_size_is_held(tmp_path, monkeypatch):
    """Memory grows by the components of a person, not by their edges."""
    np.save(tmp_path / "w.npy", make_weights(4608, 50))
    mapped = np.load(tmp_path / "w.npy", mmap_mode="r")
    read, rows = Cohort.read, []
    monkeypatch.setattr(Cohort, "read", lambda self, part: rows.append(part) or read(self, part))
    peaks = []
    for n_people in (1536, 4608):
        cohort = cohort_of(mapped[:n_people])
        rows.clear()
        tracemalloc.start()
        EdgeSpace.fit(cohort, n_components=30)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        batches = [slice(start, start + 512) for start in range(0, n_people, 512)]
        assert rows == 4 * batches  # from the beginning to the end, in order
    a_person = (peaks[1] - peaks[0]) / 3072
    assert a_person < 1.2 * (3 * (30 + 20) * 4 + 30 * 8)
    assert a_person < 0.25 * mapped[0].nbytes
    assert peaks[1] < mapped.nbytes / 2


def test_people_who_are_all_alike_cannot_be_modelled():
    with pytest.raises(ConnectomeError, match="nothing to model"):
        EdgeSpace.fit(cohort_of(np.tile(make_weights(1, 7), (30, 1))))
