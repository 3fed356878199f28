"""Options that several commands share, each with the same name and meaning everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["CohortFolder", "Force", "Json", "Out", "Seed"]

CohortFolder = Annotated[Path, typer.Argument(metavar="COHORT", help="Native cohort folder.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, help="Seed of everything random: the same seed gives the same bytes.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the files of an output folder that exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON, for a program to read.")]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; it appears complete or not at all.", show_default=False)]
