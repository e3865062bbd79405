"""Every refusal Tidegate makes: what it saw, what it wanted, what to do; and how messages count.

TidegateError
├── DataError          the data cannot be used as it is (also a ValueError)
├── SettingError       an argument or setting cannot be used (also a ValueError)
├── ModelFileError     a model, state or checkpoint file is refused (also a ValueError)
├── NotFittedError     a task is used before `fit` (also a ValueError)
└── MissingExtraError  an optional package is not installed (also an ImportError)
"""

from __future__ import annotations


class TidegateError(Exception):
    """A refusal in three parts, one line each; `where` lists the file, channel or row it is about.

    >>> print(DataError("series has 41 rows", wanted="at least 64", do="give a longer file"))
    series has 41 rows
      wanted: at least 64
      do: give a longer file
    """

    def __init__(self, saw: str, *, wanted: str = "", do: str = "", where: str = "") -> None:
        self.saw, self.wanted, self.do, self.where = saw, wanted, do, where
        parts = [("where", where), ("wanted", wanted), ("do", do)]
        super().__init__("\n".join([saw, *(f"  {name}: {text}" for name, text in parts if text)]))


class DataError(TidegateError, ValueError):
    """The data cannot be used as it is."""


class SettingError(TidegateError, ValueError):
    """An argument or setting cannot be used."""


class ModelFileError(TidegateError, ValueError):
    """A model, state or checkpoint file is refused."""


class NotFittedError(TidegateError, ValueError):
    """A task was asked for a result before `fit` gave it something to answer with."""


class MissingExtraError(TidegateError, ImportError):
    """An optional package is not installed.

    >>> print(MissingExtraError.of("torch", "train"))
    the package torch is not installed
      wanted: extra 'train'
      do: pip install 'tidegate[train]'
    """

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtraError:
        """The error for one package and the extra that brings it."""
        return cls(
            f"the package {package} is not installed",
            wanted=f"extra '{extra}'",
            do=f"pip install 'tidegate[{extra}]'",
        )


def several(count: int, noun: str) -> str:
    """A number of things.

    >>> several(1, "row"), several(1200, "row")
    ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}{'s' * (count != 1)}"
