"""What the commands show: errors and warnings as one line each, tables, and answers for programs."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from connectome_gnn.errors import ConnectomeError, ConnectomeWarning

__all__ = ["Cell", "Commands", "as_json", "print_json", "say", "show_table", "terminal_width"]

USER_ERROR = 2
Cell = str | list[tuple[str, str]]
"""Text of a table's cell, or pieces of it with the style of each."""

WIDTH = 160
"""Columns of a table where standard output is no terminal."""


class Commands(TyperGroup):
    """The command line: a user's mistake is one line on standard error and exit code 2, a warning one line."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run a command; anything but a user's mistake is left to Python to report."""
        try:
            with _warnings_as_lines():
                code = super().main(*args, **{**extra, "standalone_mode": False})
        except Exception as error:
            sentence = _sentence(error)
            if sentence is None or not standalone_mode:
                raise
            _line("error", sentence, "red")
            sys.exit(USER_ERROR)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def _sentence(error: Exception) -> str | None:
    """What to tell a user about their own mistake; None for an error of the program."""
    if isinstance(error, typer.BadParameter) or hasattr(error, "format_message"):
        context = getattr(error, "ctx", None)
        message = str(error.format_message()).rstrip(".")
        return message + (f"; see '{context.command_path} --help'" if context else "")
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, (ConnectomeError, OSError, MemoryError)):
        return str(error) or type(error).__name__
    return None


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Show each warning of this package once, as a yellow line, and no others unless Python was asked for them."""
    seen: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *rest: object, **more: object) -> None:
        if str(message) not in seen:
            seen.add(str(message))
            _line("warning", str(message), "yellow")

    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", ConnectomeWarning)
        warnings.showwarning = show
        yield


def _line(kind: str, sentence: str, colour: str) -> None:
    text = Text(f"{kind}: {' '.join(sentence.split())}", style=colour)
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def terminal_width() -> int:
    """Columns of standard output; 160 where it is no terminal."""
    return Console().width if sys.stdout.isatty() else WIDTH


def say(sentence: str) -> None:
    """Print a line to standard output."""
    Console(highlight=False, markup=False, width=terminal_width()).print(sentence, soft_wrap=True)


def show_table(
    headings: Sequence[str], rows: Sequence[Sequence[Cell]], title: str = "", caption: str = "", bold: int | None = None
) -> None:
    """Print a table to standard output.

    Parameters
    ----------
    headings : one a column; the first column is left-aligned text, the others numbers.
    rows : cells, text or pieces of text with the style of each.
    title, caption : above and below the table.
    bold : number of a row to set off.
    """
    table = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left", caption=Text(caption), caption_justify="left")
    table.pad_edge, table.collapse_padding = False, True
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", vertical="top", no_wrap=place > 0)
    for place, row in enumerate(rows):
        cells = (Text(cell) if isinstance(cell, str) else Text.assemble(*cell) for cell in row)
        table.add_row(*cells, style="bold" if place == bold else None)
    Console(highlight=False, width=terminal_width()).print(table)


def as_json(value: Any) -> Any:
    """Plain JSON values: numpy's numbers as numbers, paths as text, None in place of an undefined number."""
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    if isinstance(value, (np.generic, np.ndarray)):
        return as_json(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def print_json(record: Mapping[str, Any]) -> None:
    """Print an answer for a program to standard output."""
    sys.stdout.write(json.dumps(as_json(record), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
