"""``lowdose info``."""


def info() -> None:
    """Not there yet."""
