"""A CSV file that says which specimen, or which split, a file belongs to."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from lowdose.data.sets.choices import SPLITS
from lowdose.data.sets.decide import Label
from lowdose.errors import ConfigError

FILE = "file"


def read_table(path: Path, *, column: str, split_column: str) -> dict[str, Label]:
    """Read what a table says of each file.

    Parameters
    ----------
    path : Path
        CSV with a head; the column ``file`` holds paths or bare file names.
    column, split_column : str
        Columns with the group and with the split; empty for none.

    Raises
    ------
    ConfigError
        If the file or a column is missing, a name comes twice with different labels, or a split
        is none of train, val and test.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            wanted = [name for name in (FILE, column, split_column) if name]
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise ConfigError(f"{path}: has no column {missing[0]!r}; its columns are {found}")
            rows = [{name: (row[name] or "").strip() for name in wanted} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise ConfigError(f"{path}: cannot be read as a table ({err})") from err
    labels: dict[str, Label] = {}
    for number, row in enumerate(rows, 2):
        label = Label(row.get(column, ""), row.get(split_column, ""))
        if split_column and label.split not in SPLITS:
            raise ConfigError(
                f"{path}: row {number} has the split {label.split!r}; expected {', '.join(SPLITS)}"
            )
        if labels.setdefault(row[FILE], label) != label:
            raise ConfigError(f"{path}: row {number} says otherwise of {row[FILE]} than before")
    return labels


def labels_of(names: Iterable[str], table: Mapping[str, Label]) -> dict[str, Label]:
    """Labels of those files that the table knows, by their path or else their bare name.

    Examples
    --------
    >>> labels_of(["day1/a.mrc", "day2/b.mrc"], {"a.mrc": Label("gold")})
    {'day1/a.mrc': Label(group='gold', split='')}
    """
    found = {name: table.get(name) or table.get(name.rpartition("/")[2]) for name in names}
    return {name: label for name, label in found.items() if label}
