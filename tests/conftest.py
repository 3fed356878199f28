"""Tiny cohorts, real cohorts where there are some, and no network."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from tiny import make_cohort

from connectome_gnn.cohort import Cohort

settings.register_profile("project", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("project")


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Small networks learn faster in one thread."""
    from connectome_gnn.generation.threads import one_thread

    with one_thread():
        yield


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Refuse every connection to another machine."""
    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex"):
        original = getattr(socket.socket, name)

        def guarded(self: socket.socket, address: Any, *rest: Any, original: Callable[..., Any] = original) -> Any:
            if isinstance(address, tuple) and not is_loopback(address[0]):
                raise RuntimeError(f"tests do not use the network, something connects to {address}")
            return original(self, address, *rest)

        patch.setattr(socket.socket, name, guarded)
    yield
    patch.undo()


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture
def cohort() -> Cohort:
    """12 people, 6 regions, streamline counts."""
    return make_cohort()


@pytest.fixture
def data_folder() -> Callable[[str], Path]:
    """The folder of a real cohort, by name; skips the test where the cohort is not on this machine."""

    def find(name: str) -> Path:
        root = os.environ.get("CONNECTOME_GNN_DATA")
        if not root:
            pytest.skip("real cohorts are looked for in the folder that CONNECTOME_GNN_DATA names, which is not set")
        if not (Path(root) / name).is_dir():
            pytest.skip(f"no cohort {name} in {root} (CONNECTOME_GNN_DATA)")
        return Path(root) / name

    return find
