"""How the learning rate goes over a run."""

from __future__ import annotations

import math


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
