"""The planted cases of benchmarks/planted_fidelity.py, for a small form of them in the tests."""

import importlib.util
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location("planted_fidelity", Path(__file__).parents[1] / "benchmarks" / "planted_fidelity.py")
planted_fidelity = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(planted_fidelity)
