"""``lowdose models``."""


def models() -> None:
    """Not there yet."""
