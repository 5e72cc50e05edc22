"""Text that stays on its line, whatever a file is called."""

from __future__ import annotations

import re

# Line ends and what else steers a terminal: C0, C1 and Unicode's separators.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: object) -> str:
    r"""Text with its control characters written as in Python.

    Examples
    --------
    >>> print(one_line("two\nlines.mrc"))
    two\nlines.mrc
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))
