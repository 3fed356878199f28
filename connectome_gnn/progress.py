"""Progress bars for whatever takes more than a few seconds; silent where standard error is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["progress"]


_shown: list[Progress] = []
"""The bars on the terminal, of which there is one set at a time: a bar inside another one's block is a further line of it."""


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar while the block runs.

    Yields a function ``advance(steps=1, description=None)``, which does nothing where standard error is not a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda steps=1, description=None: None
        return
    with _bars() as bars:
        task = bars.add_task(description, total=total)
        try:
            yield lambda steps=1, description=None: bars.update(task, advance=steps, description=description)
        finally:
            bars.remove_task(task)


@contextmanager
def _bars() -> Iterator[Progress]:
    if _shown:
        yield _shown[-1]
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        _shown.append(bars)
        try:
            yield bars
        finally:
            _shown.pop()
