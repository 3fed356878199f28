"""UK Biobank's tables of phenotypes: whatever style their columns are named in, as a participants table with descriptions.

Read in chunks, columns of numbers kept as numbers: 500,000 people and 200 columns fit in 2 GB.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from connectome_gnn.columns import level_text
from connectome_gnn.errors import ConnectomeError
from connectome_gnn.progress import progress
from connectome_gnn.readers.ukb_fields import FIELDS, Field, group_of
from connectome_gnn.tables import people_table

__all__ = ["is_ukb_table", "read_ukb_phenotypes"]

EID = {"eid", "f.eid", "n_eid", "participant.eid", "participant_id"}
STYLES = (
    re.compile(r"(?P<field>\d+)-(?P<instance>\d+)\.(?P<array>\d+)"),
    re.compile(r"f\.(?P<field>\d+)\.(?P<instance>\d+)\.(?P<array>\d+)"),
    re.compile(r"(?:n|s|ts)_(?P<field>\d+)_(?P<instance>\d+)_(?P<array>\d+)"),
    re.compile(r"(?:participant\.)?p(?P<field>\d+)(?:_i(?P<instance>\d+))?(?:_a(?P<array>\d+))?"),
)
"""How columns are named: 21003-2.0, f.21003.2.0, n_21003_2_0 (s_ for text, ts_ for dates), p21003_i2 or participant.p21003_i2."""
MISSING_CODES = (-1, -2, -3, -4, -5, -6, -9, -10, -11, -13, -18, -21, -23, -27, -121, -313, -521, -818)
"""Codes that UK Biobank documents for answers that are none, where values are not negative (-7, none of the above, is an answer)."""
MISSING_TEXT = {"", "do not know", "prefer not to answer", "not known", "unsure", "test not completed", "na", "n/a", "nan"}
CELLS = 2_000_000
"""Cells of a chunk of rows."""
MOST_COLUMNS = 20_000
LONGEST_HEADER = 64 * 2**20


@dataclass
class _Column:
    """A column being read.

    Attributes
    ----------
    place : number of the column in the file.
    field : what is known of the field.
    number, instance, array : its field, visit (None where it has none) and place among several values.
    pieces : values of the chunks read: numbers, or codes of ``texts``.
    """

    place: int
    field: Field
    number: int
    instance: int | None
    array: int | None
    pieces: list[NDArray] = dataclasses.field(default_factory=list)
    texts: dict[str, int] = dataclasses.field(default_factory=dict)

    def feed(self, values: pd.Series) -> None:
        if values.dtype.kind in "fiu":
            self.pieces.append(values.to_numpy(np.float64))
            return
        codes, found = pd.factorize(values.astype(object))  # a missing value has the code -1
        known = np.array([self.texts.setdefault(level_text(text), len(self.texts)) for text in found] + [-1], dtype=np.int32)
        self.pieces.append(known[codes])

    def finish(self) -> tuple[pd.Series | NDArray[np.float64], dict[str, Any]]:
        """The column's values, and its description."""
        note: dict[str, Any] = {"Description": self.field.description, "Group": self.field.group, "Field": self.number}
        if self.instance is not None:
            note["Instance"] = self.instance
        if self.field.levels or self.field.kind != "continuous":
            return self._levels(note)
        if self.texts:
            numbers = {text: _as_number(text) for text in self.texts}
            if any(np.isnan(number) and text.lower() not in MISSING_TEXT for text, number in numbers.items()):
                return self._levels(note)
            lookup = np.array([*numbers.values(), np.nan])
            self.pieces = [piece if piece.dtype.kind == "f" else lookup[piece] for piece in self.pieces]
        values = np.concatenate(self.pieces) if self.pieces else np.empty(0)
        self.pieces = []
        codes = [] if self.field.signed else _missing_codes(values)
        if codes:
            values[np.isin(values, codes)] = np.nan
            note["MissingCodes"] = codes
        return values, {**note, "Units": self.field.units or "value"}

    def _levels(self, note: dict[str, Any]) -> tuple[pd.Series, dict[str, Any]]:
        """Values as text codes; meanings of known codes are put back to the codes."""
        codes_of = {meaning.lower(): code for code, meaning in self.field.levels.items()}
        names = [codes_of.get(text.lower(), text) for text in self.texts]
        missing = {text for text in names if text.lower() in MISSING_TEXT or _is_missing_code(text)}
        missing_codes = sorted({int(float(text)) for text in missing if _is_missing_code(text)}, reverse=True)
        lookup = np.array([None if name in missing else name for name in names] + [None], dtype=object)
        parts = []
        for piece in self.pieces:
            if piece.dtype.kind == "f":
                kept, inverse = np.unique(piece, return_inverse=True)
                texts = [None if np.isnan(value) or value in MISSING_CODES else level_text(value) for value in kept]
                missing_codes += [int(value) for value in kept if value in MISSING_CODES]
                parts.append(np.array(texts, dtype=object)[inverse] if len(texts) else np.empty(0, object))
            else:
                parts.append(lookup[piece])
        self.pieces = []
        values = pd.Series(np.concatenate(parts) if parts else np.empty(0, object), dtype=object)
        if missing_codes:
            note["MissingCodes"] = sorted(set(missing_codes), reverse=True)
        if self.field.levels:
            found = set(values.dropna().unique())
            note["Levels"] = {**self.field.levels, **{code: code for code in sorted(found - self.field.levels.keys())}}
            note["Kind"] = "categorical" if found - self.field.levels.keys() else self.field.kind
        else:
            note["Kind"] = "categorical"
        return values, note


def read_ukb_phenotypes(
    path: str | Path,
    instance: int = 2,
    *,
    people: Collection[str] | None = None,
    dictionary: str | Path | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read a UK Biobank table of phenotypes.

    Parameters
    ----------
    path : the table (comma or tab): a column ``eid``, and columns named ``21003-2.0``, ``f.21003.2.0``, ``p21003_i2`` or
        ``participant.p21003_i2``; fields without visits as ``31-0.0`` or ``p31``.
    instance : the visit; 2 is the first imaging visit. Of a field that has no column for it, the last visit before it is taken, and the
        column's name says so (``_i0``).
    people : eids to keep; default everybody.
    dictionary : UK Biobank's ``Data_Dictionary_Showcase`` (.csv or .tsv), for the names, units and groups of fields that are not known.

    Returns
    -------
    table : (N, P) indexed by participant_id (the eid, text). Numbers as float64, codes as text; known fields by their name (age, sex, bmi,
        ...), others as ``field_<number>``. Documented negative codes (-1, -3, ...: do not know, prefer not to answer) and such answers in
        words are missing, not values.
    described : per column Description, Units or Levels, Group, Field, and the codes that were taken as missing.

    Raises
    ------
    FileNotFoundError, ConnectomeError
        If the table is missing, malformed, has no eid or no field of the visit, or lists a person twice, or the visit is no number.
    """
    path = Path(path)
    if isinstance(instance, bool) or not isinstance(instance, (int, np.integer)) or instance < 0:
        raise ConnectomeError(f"expected the visit (instance) as a number such as 2, the first imaging visit, got {instance!r}")
    names, delimiter = _header(path)
    known = FIELDS if dictionary is None else {**_dictionary(Path(dictionary)), **FIELDS}
    eid = next((place for place, name in enumerate(names) if name.lower() in EID), None)
    if eid is None:
        raise ConnectomeError(f"{path} has no column eid; expected a UK Biobank table (it has {', '.join(map(repr, names[:5]))})")
    columns = _columns_of(names, instance, known)
    if not columns:
        raise ConnectomeError(f"{path} has no field of visit {instance} (columns as '21003-{instance}.0' or 'p21003_i{instance}')")
    wanted = None if people is None else {level_text(person) for person in people}
    ids: list[NDArray] = []
    for chunk in _chunks(path, delimiter, eid, columns, len(names)):
        index = chunk.iloc[:, 0].to_numpy(object)
        keep = slice(None) if wanted is None else np.array([str(person).strip() in wanted for person in index], dtype=bool)
        ids.append(index[keep])
        for place, column in enumerate(columns, 1):
            column.feed(chunk.iloc[:, place][keep])
    index = np.concatenate(ids) if ids else np.empty(0, object)
    if not len(index):
        raise ConnectomeError(f"{path} has a header but none of the people asked for; expected one row a person")
    data: dict[str, Any] = {}
    described: dict[str, Any] = {}
    for name, column in zip(_names(columns, instance), columns, strict=True):
        values, described[name] = column.finish()
        data[name] = values.to_numpy() if isinstance(values, pd.Series) else values
    table = pd.DataFrame(data, index=pd.Index(index, dtype=object, name="participant_id"), copy=False)
    table = people_table(table, str(path))
    table.attrs["whole_population"] = people is None
    return table, described


def is_ukb_table(path: Path) -> bool:
    """Whether a file is a UK Biobank table of phenotypes, by its header."""
    try:
        names, _ = _header(path)
    except (ConnectomeError, OSError):
        return False
    ids = {name.lower() for name in names[:50]} & (EID - {"participant_id"})
    return bool(ids) and any(_parsed(name) for name in names)


def _header(path: Path) -> tuple[list[str], str]:
    if not path.is_file():
        raise FileNotFoundError(f"no table at {path}; expected UK Biobank's phenotypes with a column eid")
    with path.open("rb") as file:
        line = file.readline(LONGEST_HEADER + 1)
    if len(line) > LONGEST_HEADER:
        raise ConnectomeError(f"{path} has a first line of more than {LONGEST_HEADER:,} bytes; expected the names of columns")
    text = line.decode("utf-8-sig", errors="replace").rstrip("\r\n")
    delimiter = "\t" if "\t" in text else ","
    try:
        names = [name.strip() for name in next(csv.reader([text], delimiter=delimiter), [])]
    except csv.Error as error:
        raise ConnectomeError(f"{path} has no readable header ({error})") from error
    if len(names) > MOST_COLUMNS:
        raise ConnectomeError(
            f"{path} has {len(names):,} names of columns, more than {MOST_COLUMNS:,} columns; take the fields that are needed"
        )
    if not any(names):
        raise ConnectomeError(f"{path} is empty; expected UK Biobank's phenotypes with a column eid")
    return names, delimiter


def _parsed(name: str) -> tuple[int, int | None, int | None] | None:
    """Field, visit and place in an array that a column's name says."""
    for style in STYLES:
        match = style.fullmatch(name)
        if match and all(len(part or "") < 9 for part in match.groups()):
            number, instance, array = (None if part is None else int(part) for part in match.group("field", "instance", "array"))
            return (number, instance, array) if number is not None else None
    return None


def _columns_of(names: list[str], instance: int, known: Mapping[int, Field]) -> list[_Column]:
    """The columns to read: of each field those of the visit, or of the last one before it that it has."""
    fields: dict[int, list[tuple[int, int | None, int | None]]] = {}
    for place, name in enumerate(names):
        parsed = _parsed(name)
        if parsed is not None:
            fields.setdefault(parsed[0], []).append((place, parsed[1], parsed[2]))
    columns = []
    for number, found in fields.items():
        visits = [visit for _, visit, _ in found if visit is not None and visit <= instance]
        visit = max(visits, default=None)
        if visit is None and not any(v is None for _, v, _ in found):
            continue  # only later visits
        about = known.get(number, Field(f"field_{number}", f"UK Biobank field {number}", "other"))
        columns += [_Column(place, about, number, v, array) for place, v, array in found if v == visit or (visit is None and v is None)]
    return columns


def _names(columns: list[_Column], instance: int) -> list[str]:
    """Names of the columns: the field's, ``_i<visit>`` where it is an earlier visit's, ``_a<place>`` where there are several values."""
    several = {column.number for column in columns if sum(other.number == column.number for other in columns[:5000]) > 1}
    names = []
    for column in columns:
        name = column.field.name
        if column.instance not in (None, instance) and not column.field.once:
            name += f"_i{column.instance}"
        names.append(f"{name}_a{column.array or 0}" if column.number in several else name)
    return names


def _chunks(path: Path, delimiter: str, eid: int, columns: list[_Column], n_columns: int) -> Iterator[pd.DataFrame]:
    """The table some rows at a time: the eid (text), then the columns in their order."""
    places = [str(eid), *(str(column.place) for column in columns)]
    size = max(1, min(50_000, CELLS // n_columns))
    advance: Callable[..., None]
    with progress("Reading phenotypes", path.stat().st_size) as advance:
        try:
            with (
                path.open("rb") as file,
                pd.read_csv(
                    _Numbered(file, n_columns + 1, delimiter),
                    sep=delimiter,
                    header=0,
                    names=[str(place) for place in range(n_columns + 1)],
                    usecols=[*dict.fromkeys(places), str(n_columns)],
                    index_col=False,
                    dtype={str(eid): str},
                    keep_default_na=False,
                    na_values=["", "NA", "n/a", "nan", "NaN"],
                    chunksize=size,
                    low_memory=False,
                    encoding="utf-8",
                    encoding_errors="replace",
                    skipinitialspace=True,
                ) as reader,
            ):
                before = 0
                for chunk in reader:
                    longer = np.flatnonzero(chunk[str(n_columns)].notna())
                    if len(longer):
                        raise ConnectomeError(f"{path} line {chunk.index[longer[0]] + 2} has more cells than the header's {n_columns}")
                    yield chunk[places]
                    advance(file.tell() - before)
                    before = file.tell()
        except pd.errors.EmptyDataError:
            return
        except (pd.errors.ParserError, ValueError, OverflowError, csv.Error) as error:
            if isinstance(error, ConnectomeError):
                raise
            raise ConnectomeError(
                f"{path} is no table that can be read ({error}); expected one row a person, with as many cells as the header"
            ) from error


class _Numbered(io.RawIOBase):
    """A table's bytes with numbers in place of its names, one more than it has: that column is empty unless a row has too many cells."""

    def __init__(self, file: BinaryIO, n_columns: int, delimiter: str) -> None:
        file.readline()
        self.file = file
        self.start = (delimiter.join(map(str, range(n_columns))) + "\n").encode()

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the numbers, then with the table."""
        data = self.start[: len(buffer)] or self.file.read(len(buffer))
        self.start = self.start[len(data) :] if self.start else b""
        buffer[: len(data)] = data
        return len(data)


def _missing_codes(values: NDArray[np.float64]) -> list[int]:
    """The negative codes among values that are not negative otherwise; none where negative values are values."""
    negative = np.unique(values[values < 0])
    if not len(negative) or not np.isin(negative, MISSING_CODES).all():
        return []
    return [int(code) for code in negative[::-1]]


def _is_missing_code(text: str) -> bool:
    number = _as_number(text)
    return number in MISSING_CODES


def _as_number(text: str) -> float:
    try:
        return float(text) if "_" not in text else np.nan
    except ValueError:
        return np.nan


def _dictionary(path: Path) -> dict[int, Field]:
    """Fields by UK Biobank's data dictionary."""
    names, delimiter = _header(path)
    place = {name.lower(): number for number, name in enumerate(names)}
    absent = [name for name in ("fieldid", "field", "path") if name not in place]
    if absent:
        raise ConnectomeError(f"{path} has no column {absent[0]!r}; expected UK Biobank's Data_Dictionary_Showcase")
    fields: dict[int, Field] = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        next(rows, None)
        for row in rows:
            cells = {name: row[number].strip() for name, number in place.items() if number < len(row)}
            if not cells.get("fieldid", "").isdecimal():
                continue
            number = int(cells["fieldid"])
            about = Field(
                f"field_{number}",
                cells.get("field") or f"UK Biobank field {number}",
                group_of(cells.get("path", "")),
                cells.get("units", ""),
            )
            coded = cells.get("valuetype", "").lower().startswith("categorical")
            fields[number] = replace(about, kind="categorical") if coded else about
    return fields
