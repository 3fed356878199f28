"""The command line: each command parses, calls the Python interface and prints.

Modules of the package are imported inside the commands that use them, so that help appears at once.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from connectome_gnn.cli.attribution import attribute
from connectome_gnn.cli.augmentation import augment
from connectome_gnn.cli.cohorts import convert, export, merge, simulate, split
from connectome_gnn.cli.demo import demo
from connectome_gnn.cli.evaluation import evaluate
from connectome_gnn.cli.harmonise import harmonise
from connectome_gnn.cli.models import finetune, fit, generate
from connectome_gnn.cli.open_cohorts import fetch
from connectome_gnn.cli.prediction import classify, predict_age
from connectome_gnn.cli.privacy import privacy
from connectome_gnn.cli.terminal import Commands, say
from connectome_gnn.cli.topology import topology
from connectome_gnn.cli.weights import backbone, normalise, reorder, select, threshold

__all__ = ["app", "main"]

app = typer.Typer(
    cls=Commands, add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.callback(invoke_without_command=True)
def connectome_gnn(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False
) -> None:
    """Whole-brain connectomes generated from people's phenotypes, with honest held-out evaluation."""
    if version:
        from connectome_gnn import __version__

        say(__version__)
    elif context.invoked_subcommand is None:
        say(context.get_help())
    if version or context.invoked_subcommand is None:
        raise typer.Exit


for command in (
    demo,
    simulate,
    fetch,
    convert,
    export,
    split,
    merge,
    select,
    reorder,
    normalise,
    threshold,
    backbone,
    harmonise,
    fit,
    finetune,
    generate,
    evaluate,
    attribute,
    privacy,
    augment,
    topology,
    predict_age,
    classify,
):
    app.command()(command)


def main() -> None:
    """Entry point of ``connectome-gnn``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal that cannot show a character shows ? in its place
            stream.reconfigure(errors="replace")
    app()
