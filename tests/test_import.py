"""Importing the package costs next to nothing and does nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib.util import find_spec

import pytest

import connectome_gnn

HEAVY = (
    "torch",
    "torch_geometric",
    "nilearn",
    "matplotlib",
    "plotly",
    "lightning",
    "dask",
    "captum",
    "pandas",
    "numba",
    "scipy",
    "sklearn",
    "numpy",
)

WATCHED = """
import json, sys
seen = []
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event.startswith(("socket.", "subprocess.", "os.mkdir", "os.rename", "os.remove", "os.system", "os.putenv", "urllib.")):
        seen.append([event, str(arguments[0])])
sys.dont_write_bytecode = True
sys.addaudithook(watch)
import connectome_gnn
names = dir(connectome_gnn)
print(json.dumps({"seen": seen, "modules": sorted(sys.modules), "names": names}))
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """What a process of its own did while it imported the package."""
    folder = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "HOME": str(folder)}
    result = subprocess.run(
        [sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True, cwd=folder, env=environment, timeout=60
    )
    assert result.stderr == ""
    return {**json.loads(result.stdout), "left": sorted(path.name for path in folder.rglob("*"))}


def test_nothing_heavy_is_imported(fresh):
    assert not [name for name in HEAVY if name in fresh["modules"]]


def test_nothing_is_written_or_connected(fresh):
    assert fresh["seen"] == []
    assert fresh["left"] == []


def test_every_public_name_is_listed(fresh):
    assert set(connectome_gnn.__all__) <= set(fresh["names"])
    assert connectome_gnn.__all__ == sorted(connectome_gnn.__all__)
    assert set(connectome_gnn.__all__) == set(connectome_gnn._HOMES)


@pytest.mark.parametrize("name", connectome_gnn.__all__)
def test_every_public_name_resolves(name):
    home = connectome_gnn._HOMES[name]
    if find_spec(f"connectome_gnn.{home}") is None:
        pytest.skip(f"connectome_gnn.{home} is not there")
    thing = getattr(connectome_gnn, name)
    assert thing.__name__ == name
    assert thing.__doc__


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="module 'connectome_gnn' has no attribute 'nonsense'"):
        connectome_gnn.nonsense  # noqa: B018


def test_a_cohort_needs_neither_torch_nor_scikit_learn(tmp_path):
    """Loading, splitting and saving cohorts leaves what only models need unloaded."""
    code = (
        "import sys, connectome_gnn as cg; cg.Cohort, cg.PhenotypeSchema, cg.Atlas; "
        "print([name for name in ('torch', 'torch_geometric', 'sklearn', 'scipy', 'numba') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60)
    assert result.stdout.strip() == "[]"


def test_the_network_is_blocked():
    with socket.socket() as plug, pytest.raises(RuntimeError, match="tests do not use the network"):
        plug.connect(("192.0.2.1", 80))
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(server.getsockname())
