"""``python -m lowdose`` is the command ``lowdose``."""

from lowdose.cli import main

if __name__ == "__main__":
    main()
