"""Large arrays lie in files that nobody sees and that go by themselves; without room for them, in memory."""

from __future__ import annotations

import mmap
import os
import tempfile

import numpy as np
from joblib import Parallel, delayed

from connectome_gnn.generation.scratch import LARGE, scratch


def test_small_arrays_lie_in_memory():
    small = scratch((3, 5), np.float32)
    assert small.shape == (3, 5)
    assert small.base is None
    assert scratch((0, 7), np.float32).shape == (0, 7)


def test_large_arrays_lie_in_a_file_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large = scratch((LARGE // 16, 4), np.float32)
    assert type(large) is np.ndarray
    base = large
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(getattr(base, "obj", base), mmap.mmap)
    large[:] = np.arange(4)
    np.testing.assert_array_equal(large.sum(0), LARGE // 16 * np.arange(4))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_reason_to_give_up(monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    large = scratch((LARGE, 2), np.uint8)
    assert large.base is None
    large[:] = 1
    assert large.sum() == 2 * LARGE


def test_without_a_temporary_folder_they_lie_in_memory(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    assert scratch((LARGE, 2), np.uint8).base is None


def test_large_arrays_go_to_other_processes(monkeypatch):
    large = scratch((LARGE // 4, 8), np.float32)
    large[:] = 1
    assert Parallel(n_jobs=2)(delayed(np.sum)(part) for part in (large, large)) == [2 * LARGE, 2 * LARGE]
