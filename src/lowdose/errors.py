"""Every exception that lowdose raises on purpose.

::

    LowdoseError
    ├── InputError                  the file is at fault; the command line exits with 3
    │   ├── UnknownFormatError      its content is of no format we read
    │   ├── MalformedFileError      it is cut short, or its header lies
    │   ├── UnsupportedContentError it is sound, but no image we denoise (complex, RGB, a spectrum)
    │   └── LimitError              it would take more memory or pixels than allowed
    ├── MissingExtraError           an optional dependency would read it; says which to install
    ├── OutputError                 the result cannot be written there
    ├── WeightsError                model weights are missing, altered or do not fit
    ├── ConfigError                 a setting, file or combination of options makes no sense
    └── NoiseModelError             the image and the noise it is said to hold contradict each other

    UserWarning
    └── LowdoseWarning              the file is odd but readable; once for each file

A message says what was wrong, what was found, what was expected and what to do next.
"""

from pathlib import Path


class LowdoseError(Exception):
    """Base of all errors with a message meant for the user."""


class InputError(LowdoseError):
    """An input file cannot be used.

    Parameters
    ----------
    path : Path or str
        The file; the message begins with it.
    problem : str
        What is wrong and what to do, as the rest of the sentence.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        self.path = Path(path)
        self.problem = problem
        super().__init__(f"{path}: {problem}")

    def __reduce__(self) -> tuple[type["InputError"], tuple[Path, str]]:
        """Pickle with both arguments: it may come from another process."""
        return type(self), (self.path, self.problem)


class UnknownFormatError(InputError):
    """The content is of no format that lowdose reads."""


class MalformedFileError(InputError):
    """The file is cut short, damaged, or its header contradicts its content."""


class UnsupportedContentError(InputError):
    """The file is sound, yet holds nothing lowdose denoises."""


class LimitError(InputError):
    """Reading the file would exceed a limit on pixels or on decompressed size."""


class MissingExtraError(LowdoseError):
    """An optional dependency is needed and not installed."""


class OutputError(LowdoseError):
    """A result cannot be written where it was asked for."""


class WeightsError(LowdoseError):
    """Model weights are missing, altered, or do not fit the architecture."""


class ConfigError(LowdoseError):
    """A setting or a combination of settings makes no sense."""


class NoiseModelError(LowdoseError):
    """A noise model is impossible, or contradicts the image it is applied to."""


class LowdoseWarning(UserWarning):
    """A file is odd, yet was read.

    Parameters
    ----------
    path : Path or str
        The file; the message begins with it.
    problem : str
        What is odd and what was made of it, as the rest of the sentence.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        self.path = Path(path)
        self.problem = problem
        super().__init__(f"{path}: {problem}")
