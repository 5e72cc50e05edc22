"""A file of JSON lines that a process adds to and may be killed over at any moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lowdose.errors import MalformedFileError, OutputError


class Journal:
    """Rows that stay, one JSON object a line; a line that was cut short is as never written.

    Parameters
    ----------
    path : Path
        The file, begun if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open(path, "ab+") as file:
                size = file.tell()
                file.seek(0)
                whole = _whole_bytes(file)
                if whole < size:
                    file.truncate(whole)
        except OSError as err:
            raise OutputError(f"{path}: cannot be written ({err.strerror}).") from err

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every row, oldest first.

        Raises
        ------
        MalformedFileError
            If a line is none of a journal's.
        """
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    row = None
                if not isinstance(row, dict):
                    problem = f"line {number} is damaged. Delete the folder and build anew."
                    raise MalformedFileError(self.path, problem)
                yield row

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        line = json.dumps(row, separators=(",", ":"), allow_nan=False) + "\n"
        try:
            with open(self.path, "ab") as file:
                file.write(line.encode())
        except OSError as err:
            raise OutputError(f"{self.path}: cannot be written ({err.strerror}).") from err


def _whole_bytes(file: BinaryIO) -> int:
    """Bytes up to and with the last line end."""
    whole = end = 0
    while block := file.read(1 << 20):
        place = block.rfind(b"\n")
        whole = end + place + 1 if place >= 0 else whole
        end += len(block)
    return whole
