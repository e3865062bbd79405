"""Files that are written whole or not at all: a full disk, a kill or a power cut leaves what was there before."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import SettingError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """As `replacing`, but a pipe or a device, which cannot be replaced, is written to, and refusals say what to do.

    >>> with whole(Path("/nowhere/scores.csv")) as out:
    ...     out.write(b"time,score")
    Traceback (most recent call last):
    tidegate.errors.SettingError: cannot write it: No such file or directory
    ...
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as out:
                yield out
            return
        with replacing(path) as out:
            yield out
    except OSError as error:
        do = "choose a folder that exists and that you may write to"
        do = "free space there, or give a path on another disk" if error.errno in FULL else do
        raise SettingError(f"cannot write it: {error.strerror or error}", do=do, where=str(path)) from error


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that appears at `path` when it is complete, safe from a power cut; raises OSError.

    It is written beside, then renamed. A link stays a link, permissions stay, and a write-protected file is refused.
    """
    target = Path(os.path.realpath(path))
    mode = target.stat().st_mode if target.exists() else None
    if mode is not None and not os.access(target, os.W_OK):  # the rename would not ask
        raise PermissionError(errno.EACCES, "the file is write-protected")
    beside = target.with_name(f".tidegate-{secrets.token_hex(8)}.tmp")
    try:
        with open(beside, "xb") as file:
            yield file
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), stat.S_IMODE(mode))
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    with suppress(OSError):  # the new file is in place: this is only about when its name is safe from a power cut
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
