"""Read and write micrographs: one format per file, `formats` is the table of them."""

from lowdose.io.format import Format
from lowdose.io.formats import (
    FORMATS,
    by_suffix,
    check_output,
    family_suffix,
    identify,
    micrographs_below,
    read,
    write,
)
from lowdose.io.guard import Limits

__all__ = [
    "FORMATS",
    "Format",
    "Limits",
    "by_suffix",
    "check_output",
    "family_suffix",
    "identify",
    "micrographs_below",
    "read",
    "write",
]
