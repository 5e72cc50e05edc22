"""``lowdose train``."""


def train() -> None:
    """Not there yet."""
