"""What the README shows runs, and its tables are those of benchmarks/results."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.filterwarnings("ignore::connectome_gnn.errors.ConnectomeWarning")
def test_python_snippets_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "readme"}
    assert len(snippets("python")) >= 4
    for snippet in snippets("python"):
        exec(compile(snippet, "README.md", "exec"), namespace)
    assert (tmp_path / "model" / "model.safetensors").is_file()


def test_every_command_shown_exists_with_its_options():
    from typer.main import get_command

    from connectome_gnn.cli import app

    commands = get_command(app).commands
    lines = [line for block in snippets("sh") for line in block.splitlines()]
    shown = [line.split("#")[0].split()[1:] for line in lines if line.startswith("connectome-gnn ")]
    assert {words[0] for words in shown} >= {"simulate", "fit", "generate", "convert", "evaluate"}
    for name, *words in shown:
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, name


def test_tables_are_those_of_the_results():
    done = subprocess.run([sys.executable, "benchmarks/tables.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
