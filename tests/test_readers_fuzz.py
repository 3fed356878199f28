"""Every reader on damaged files, the small form; benchmarks/fuzz_readers.py runs the large one."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from fuzz_targets import TARGETS, mutated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_read(name, tmp_path):
    """What is damaged below is sound to begin with: of each reader at least one seed, of most all of them."""
    target = TARGETS[name]
    read = [target.run(content, tmp_path) for content in target.seeds]
    assert any(read) and (all(read) or name == "csv_any_atlas")  # a matrix without names needs an atlas


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_are_refused_or_read(name, tmp_path):
    target, rng = TARGETS[name], np.random.default_rng(zlib.crc32(name.encode()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = [target.run(mutated(rng, target.seeds), tmp_path) for _ in range(200)]
    assert not all(read)


@given(name=st.sampled_from(sorted(TARGETS)), content=st.binary(max_size=400) | st.text(max_size=200).map(str.encode))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused_or_read(tmp_path: Path, name, content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TARGETS[name].run(content, tmp_path)


@given(name=st.sampled_from(sorted(TARGETS)), seed=st.integers(0, 2), cut=st.floats(0, 1))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_truncated_files_are_refused_or_read(tmp_path: Path, name, seed, cut):
    content = TARGETS[name].seeds[seed % len(TARGETS[name].seeds)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TARGETS[name].run(content[: int(cut * len(content))], tmp_path)
