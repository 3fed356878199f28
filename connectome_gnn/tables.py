"""Tables of text, cell by cell, and whose row is whose."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.columns import level_text
from connectome_gnn.errors import ConnectomeError

__all__ = ["ABSENT", "DECIMAL_COMMA", "people_table", "read_table", "row_names"]

ABSENT = frozenset({"", "n/a"})
"""Cells that are missing in every column of a BIDS table."""
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")


def read_table(path: Path, expected: str, row_names: bool = False) -> pd.DataFrame:
    """Read a UTF-8 table as it stands: every cell text without the blanks around it, nothing taken for missing.

    Parameters
    ----------
    path : the file, separated by tabs, or where its header has none by semicolons (and then perhaps with decimal commas) or commas; a
        byte order mark, any line ends and quoted cells are understood.
    expected : what the file should be, for the errors.
    row_names : whether the first column may have no name (``""`` then), as pandas and R write the names of rows.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If the file is missing, empty, not UTF-8, names a column twice or not at all, or a row has more or fewer cells than the header.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path}; expected {expected}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            mark = next((mark for mark in "\t;," if mark in header), "\t")
            reader = csv.reader(file, delimiter=mark, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        raise ConnectomeError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    except csv.Error as error:
        raise ConnectomeError(f"{path} line {reader.line_num} cannot be read ({error}); look for an open quotation mark") from error
    if not lines:
        raise ConnectomeError(f"{path} is empty; expected {expected}")
    if mark == ";":
        lines = [(line, [cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else cell for cell in row]) for line, row in lines]
    (_, names), rows = lines[0], lines[1:]
    for place, name in enumerate(names):
        if not name and not (row_names and place == 0):
            raise ConnectomeError(f"{path}: column {place + 1} has no name in the header; name it, or take the empty column out")
        if name in names[:place]:
            raise ConnectomeError(f"{path} has column {name!r} more than once; rename or remove one")
    for line, row in rows:
        if len(row) < len(names) or any(row[len(names) :]):
            raise ConnectomeError(f"{path} line {line} has {len(row)} cells, the header {len(names)}; write n/a into empty ones")
    columns = zip(*(row for _, row in rows), strict=False) if rows else [()] * len(names)
    return pd.DataFrame({name: list(cells) for name, cells in zip(names, columns, strict=False)}, dtype=object)


def people_table(table: pd.DataFrame, source: str = "the participants table") -> pd.DataFrame:
    """A participants table indexed by participant_id (text): unique ids, or with a column ``sample`` unique pairs.

    Raises
    ------
    ConnectomeError
        If an id is missing or occurs twice, a column occurs twice, or samples are not counted from 0 with a person's rows together.
    """
    if isinstance(table.index, pd.MultiIndex):
        if "participant_id" not in table.index.names:
            raise ConnectomeError(f"{source} is indexed by {list(table.index.names)}; index it by participant_id")
        table = table.reset_index()
    if "participant_id" in table:
        table = table.set_index("participant_id")
    unnamed = np.flatnonzero(table.index.isna() | table.index.isin(list(ABSENT)))
    if len(unnamed):
        raise ConnectomeError(f"{source}: every row needs a participant_id, row {unnamed[0] + 1} below the header has none")
    ids = [str(i) if isinstance(i, str) else level_text(i) for i in table.index]
    table = table.set_axis(pd.Index(ids, name="participant_id", dtype=object), axis=0)
    table = table.set_axis(pd.Index([str(name) for name in table.columns], dtype=object), axis=1)
    repeated_columns = table.columns[table.columns.duplicated()]
    if len(repeated_columns):
        raise ConnectomeError(f"{source} has column {repeated_columns[0]!r} more than once; rename or remove one")
    if "sample" in table:
        return table.assign(sample=_counted_samples(table, source))
    repeated = table.index[table.index.duplicated()]
    if len(repeated):
        raise ConnectomeError(
            f"{source}: participant_id must be unique, {repeated[0]!r} occurs more than once "
            "(several rows of one person need a column 'sample')"
        )
    return table


def row_names(table: pd.DataFrame) -> list[str]:
    """A name of its own for each row of a table: its participant_id, or with a column ``sample`` ``<participant_id>_sample-<n>``."""
    if "sample" not in table:
        return list(table.index)
    return [f"{person}_sample-{sample}" for person, sample in zip(table.index, table["sample"], strict=True)]


def _counted_samples(table: pd.DataFrame, source: str) -> NDArray[np.intp]:
    """0, 1, ... within each person, (N,); raises where the column ``sample`` says something else."""
    codes = pd.factorize(table.index)[0]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    if len(starts) != codes.max(initial=-1) + 1:
        again = table.index[starts[pd.Index(codes[starts]).duplicated()][0]]
        raise ConnectomeError(
            f"{source}: with a column 'sample' the rows of a person must lie together, those of {again!r} do not; sort the table"
        )
    counted = np.arange(len(codes)) - np.repeat(starts, np.diff(starts, append=len(codes)))
    wrong = np.flatnonzero(pd.to_numeric(table["sample"], errors="coerce").to_numpy(np.float64, na_value=np.nan) != counted)
    if len(wrong):
        row = int(wrong[0])
        raise ConnectomeError(
            f"{source}: column 'sample' counts a person's rows from 0; participant {table.index[row]!r} has "
            f"{table['sample'].iloc[row]} in place of {counted[row]}"
        )
    return counted
