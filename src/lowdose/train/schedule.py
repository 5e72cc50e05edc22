"""How the learning rate goes over a run."""

from __future__ import annotations

import math
from collections.abc import Sequence

# At each drop the learning rate is divided by this; the paper's was "stepped down by hand".
DROP = 4.0


def rate_factor(step: int, *, steps: int, warmup: int, drops: Sequence[float] = ()) -> float:
    """Factor on the learning rate: `warmup_cosine`, or after the same warm-up a stair.

    Parameters
    ----------
    step, steps, warmup : int
        See `warmup_cosine`.
    drops : sequence of float
        Fractions of the run at which the rate is divided by 4; none for the cosine.

    Examples
    --------
    >>> [rate_factor(s, steps=100, warmup=0, drops=(0.5, 0.9)) for s in (0, 49, 50, 90)]
    [1.0, 1.0, 0.25, 0.0625]
    """
    if not drops or step < warmup:
        return warmup_cosine(step, steps=steps, warmup=warmup)
    return DROP ** -sum(step >= drop * steps for drop in drops)


def warmup_cosine(step: int, *, steps: int, warmup: int) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine down to zero.

    Parameters
    ----------
    step : int
        The step about to be taken, from 0.
    steps : int
        Steps in the whole run.
    warmup : int
        Steps until the full rate.

    Examples
    --------
    >>> [round(warmup_cosine(s, steps=104, warmup=4), 2) for s in (0, 3, 4, 54, 103)]
    [0.25, 1.0, 1.0, 0.5, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(steps - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
