"""A finding: what was looked at, what it means, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Level = Literal["fine", "note", "warning"]
# From the least grave on.
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True)
class Finding:
    """Outcome of one check of an image or a result.

    Parameters
    ----------
    name : str
        Of the check, a few words: ``"line noise"``.
    level : {"fine", "note", "warning"}
        A warning asks the user to act; a note is worth knowing.
    value : float
        The statistic that decides.
    threshold : float
        Beyond which it is not fine.
    meaning : str
        What was found, in a sentence for people who use microscopes.
    action : str
        What to do; empty where all is fine.
    """

    name: str
    level: Level
    value: float
    threshold: float
    meaning: str
    action: str = ""


def judged(
    name: str,
    value: float,
    threshold: float,
    *,
    fine: str,
    fault: str,
    action: str,
    level: Level = "warning",
) -> Finding:
    """Make the finding of a check whose statistic is fine up to a threshold.

    Parameters
    ----------
    name, value, threshold
        As in `Finding`.
    fine, fault : str
        What it means at most at the threshold, and beyond it.
    action, level
        As in `Finding`, beyond the threshold.
    """
    if value <= threshold:
        return Finding(name, "fine", value, threshold, fine)
    return Finding(name, level, value, threshold, fault, action)
