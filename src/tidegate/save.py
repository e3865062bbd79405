"""One `.safetensors` file: written whole or not at all, read with limits, never code. The format: docs/file-format.md.

>>> import tempfile
>>> path = Path(tempfile.mkdtemp()) / "pump.safetensors"
>>> write(path, "model", {"cell": "gru", "hidden": 2}, {"bias": np.ones(2, np.float32)})
>>> file = open_file(path)
>>> file.kind, file.spec["cell"], file.table
('model', 'gru', {'bias': ((2,), 'float32')})
>>> file.arrays({"bias": ((file.spec["hidden"],), "float32")})
{'bias': array([1., 1.], dtype=float32)}
>>> file.arrays({"bias": ((3,), "float32")})
Traceback (most recent call last):
tidegate.errors.ModelFileError: the arrays are not the ones implied: bias is float32 (2,), not float32 (3,)
...

Whatever a file holds, opening it takes at most 1 s and 200 MB: what it may cost is checked before it is read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from .disk import replacing
from .errors import ModelFileError

FORMAT = 1
MOST_BYTES = 150_000_000  # of the whole file
MOST_HEADER = 1_000_000  # bytes of JSON
MOST_ARRAYS = 1_000
MOST_DEPTH = 32  # brackets within brackets, in the header and in the specification
DTYPES = {"F32": "float32", "F64": "float64", "I64": "int64", "U8": "uint8", "BOOL": "bool"}

Kind = Literal["model", "state", "checkpoint"]
Array: TypeAlias = NDArray[Any]
Table: TypeAlias = Mapping[str, tuple[tuple[int, ...], str]]  # name -> (shape, NumPy's name of the dtype)
_T = TypeVar("_T")

_CODES = {name: code for code, name in DTYPES.items()}
_SEAL = len('{"__metadata__":{"sha256":"')  # where the header's 64 digits begin: it always starts like this
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:/-]{0,199}")
_AGAIN = "give a file that tidegate wrote (MODEL comes before DATA); if this was one, it was damaged: write it again"
_ADVICE = {
    errno.ENOSPC: "free space on that disk, or give a path on another",
    errno.ENOENT: "check the path; for a new file the folder must exist",
}


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array in the header, in safetensors' words; sides and offsets stay within what any JSON reader can count."""

    dtype: Literal["F32", "F64", "I64", "U8", "BOOL"]
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, le=2**53)], ...], msgspec.Meta(max_length=8)]
    data_offsets: tuple[Annotated[int, msgspec.Meta(ge=0, le=2**53)], Annotated[int, msgspec.Meta(ge=0, le=2**53)]]


class _Stamp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `__metadata__["tidegate"]` says: JSON within the header's JSON."""

    format: int
    kind: Kind
    library: str
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class File:
    """A file that was read and checked; whether it holds what its specification implies is still to be asked."""

    path: Path
    kind: Kind
    spec: dict[str, Any]
    library: str  # the version of tidegate that wrote it
    table: Table  # what it holds, in the order of the file
    _stored: dict[str, Array] = field(repr=False)

    def arrays(self, implied: Table) -> dict[str, Array]:
        """The arrays, if their names, shapes and dtypes are exactly `implied`; else a ModelFileError that lists all.

        They are writable views of the one buffer this File holds: who asks twice copies what he changes.
        """
        has = self.table
        wrong = [f"{name} is missing" for name in sorted(implied.keys() - has.keys())]
        wrong += [f"{name} is not expected" for name in sorted(has.keys() - implied.keys())]
        wrong += [
            f"{name} is {has[name][1]} {has[name][0]}, not {implied[name][1]} {implied[name][0]}"
            for name in sorted(implied.keys() & has.keys())
            if has[name] != implied[name]
        ]
        with _about(self.path):
            saw = f"the arrays are not the ones implied: {_listed(wrong)}"
            _must(not wrong, saw, f"the {len(implied)} arrays that the specification implies")
        return {name: self._stored[name] for name in implied}


def write(path: str | os.PathLike[str], kind: Kind, spec: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """A file at `path` that `open_file` opens; the same content gives the same bytes.

    It is written beside `path`, then renamed over it: after any failure, a kill included, the old file is as it was.
    Arrays: float32, float64, int64, uint8, bool. Infinity is refused, and so is NaN, except in a "state", where it
    stands for a missing reading. Raises ModelFileError for what would not be opened or cannot be written.
    """
    with _about(path):
        stored = {name: _plain(name, array) for name, array in arrays.items()}
        # Wide items first: every array then begins at a multiple of its item size.
        stored = dict(sorted(stored.items(), key=lambda item: (-item[1].itemsize, item[0])))
        parts = [array.data for array in stored.values()]
        header = _header(kind, spec, stored)
        header = header[:_SEAL] + _seal(header, parts) + header[_SEAL + 64 :]
        _understand(header, 8 + len(header) + sum(part.nbytes for part in parts))
        for name, array in stored.items():
            _check_values(name, array, kind)
        if Path(path).exists():
            _must_be_regular(Path(path).stat().st_mode)
        with replacing(path) as file:
            file.writelines([len(header).to_bytes(8, "little"), header, *parts])


def open_file(path: str | os.PathLike[str], kind: Kind | None = None) -> File:
    """The file at `path`, checked in all that can be checked without knowing its task; `kind`: the only one wanted.

    Runs no code from the file and has no second way to read it. Raises ModelFileError, which names what was seen.
    """
    with _about(path):
        header, size, data = _read(Path(path))
        stamp, entries = _understand(header, size)
        whole = _seal(header, [data.data]) == header[_SEAL : _SEAL + 64]
        _must(whole, "a file whose bytes have changed since it was written", "the sha256 that its header names")
        _must(kind in (None, stamp.kind), f"this file holds a {stamp.kind}", f"a {kind}", f"give the path of a {kind}")
        stored = {name: _view(data, entry) for name, entry in entries.items()}
        for name, array in stored.items():
            _check_values(name, array, stamp.kind)
        table = {name: (array.shape, array.dtype.name) for name, array in stored.items()}
        return File(Path(path), stamp.kind, stamp.spec, stamp.library, table, stored)


# --- refusals -------------------------------------------------------------------------------------------------------


@contextmanager
def _about(path: str | os.PathLike[str]) -> Iterator[None]:
    """Every refusal inside names the file; what the system refuses is told in our words."""
    where = os.fspath(path)
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(error.saw, wanted=error.wanted, do=error.do, where=where) from error.__cause__
    except OSError as error:
        do = _ADVICE.get(error.errno or 0, "give a path that you may use; a file that was there is unchanged")
        raise ModelFileError(f"the system refused: {error.strerror or error}", do=do, where=where) from error


def _must(holds: bool, saw: str, wanted: str, do: str = _AGAIN) -> None:
    if not holds:
        raise ModelFileError(saw, wanted=wanted, do=do)


def _listed(items: list[str], most: int = 12) -> str:
    """A sentence's worth of items: a hostile file must not print a million of them."""
    return "; ".join(item[:160] for item in items[:most]) + f"; and {len(items) - most} more" * (len(items) > most)


# --- what a header may say ------------------------------------------------------------------------------------------


def _understand(header: bytes, size: int) -> tuple[_Stamp, dict[str, _Entry]]:
    """The stamp and the arrays, in file order, of a header in a file of `size` bytes, if they keep every rule."""
    _must(size <= MOST_BYTES, f"a file of {size:,} bytes", f"at most {MOST_BYTES:,}", "make the model smaller")
    _must(len(header) <= MOST_HEADER, f"a header of {len(header):,} bytes", f"at most {MOST_HEADER:,}")
    entries = _json(header, "the header")
    stamp = _stamp(entries.pop("__metadata__", None))
    _must(len(entries) <= MOST_ARRAYS, f"{len(entries):,} arrays", f"at most {MOST_ARRAYS:,}")
    odd = [repr(name) for name in entries if not _NAME.fullmatch(name)]
    _must(
        not odd, f"arrays named {_listed(odd)}", "1 to 200 letters, digits and ._:/-, the first a letter, a digit or _"
    )
    arrays = _convert(entries, dict[str, _Entry], "the header")
    arrays = dict(sorted(arrays.items(), key=lambda item: item[1].data_offsets))
    _check_cover(arrays, size - 8 - len(header))
    return stamp, arrays


def _stamp(notes: Any) -> _Stamp:
    """The specification in `__metadata__`, whose format version is looked at before anything else."""
    ours = isinstance(notes, dict) and notes.keys() == {"sha256", "tidegate"} and isinstance(notes["tidegate"], str)
    _must(ours, "a safetensors file without tidegate's specification", "a file that tidegate wrote")
    said = _json(notes["tidegate"], "the specification")
    version = said.get("format")
    known = version == FORMAT and type(version) is int
    do = "open it with the version of tidegate that wrote it"
    _must(known, f"a file of format {str(version)[:40]}", f"format {FORMAT}", do)
    return _convert(said, _Stamp, "the specification")


def _seal(header: bytes, parts: Iterable[Any]) -> bytes:
    """The 64 digits of the sha256 of the header, with zeros in their own place, and of all that follows it."""
    digest = hashlib.sha256(header[:_SEAL] + b"0" * 64 + header[_SEAL + 64 :])
    for part in parts:
        digest.update(part)
    return digest.hexdigest().encode()


def _check_cover(arrays: dict[str, _Entry], size: int) -> None:
    """Each byte after the header belongs to exactly one array, and each array has the bytes that its shape needs."""
    position = 0
    for name, entry in arrays.items():
        item, (begin, end) = np.dtype(DTYPES[entry.dtype]).itemsize, entry.data_offsets
        _must(begin == position, f"array {name} at byte {begin}", f"byte {position}: no hole, no overlap")
        _must(begin % item == 0, f"array {name} at byte {begin}", f"a multiple of {item}")
        needs = math.prod(entry.shape) * item
        _must(end - begin == needs, f"{end - begin} bytes for array {name}", f"{needs}, as its shape says")
        # An array without items may claim sides of any length, and NumPy overflows on them.
        sides = math.prod(max(side, 1) for side in entry.shape)
        _must(sides <= MOST_BYTES, f"array {name} of shape {entry.shape}", "sides that fit in a file")
        position = end
    _must(size >= position, f"{size} bytes of arrays: the file was cut short", f"{position}")
    _must(size <= position, f"{size - position} bytes too many at the end", f"{position} after the header")


def _json(text: str | bytes, what: str) -> dict[str, Any]:
    """A JSON object without repeated keys, numbers that are not finite, or brackets too deep."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
        value = json.loads(text, object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        saw = f"{what} is not JSON that we read: {str(error)[:200]}"
        raise ModelFileError(saw, wanted="a safetensors file", do=_AGAIN) from error
    _must(isinstance(value, dict), f"{what} is not a JSON object", "an object")
    level, depth = [value], 0
    while level:
        depth += 1
        inside = (item.values() if isinstance(item, dict) else item for item in level)
        level = [one for items in inside for one in items if isinstance(one, dict | list)]
        _must(depth <= MOST_DEPTH, f"{what} is nested too deep", f"at most {MOST_DEPTH} brackets within another")
    return dict(value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"repeated key {Counter(key for key, _ in pairs).most_common(1)[0][0]!r}")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"a number that is not finite: {text[:40]}")
    return number


def _convert(value: Any, wanted: type[_T], what: str) -> _T:
    try:
        return msgspec.convert(value, wanted)
    except (msgspec.ValidationError, ValueError) as error:  # a ValueError for half a surrogate pair
        saw = f"{what} does not keep the format: {str(error)[:200]}"
        raise ModelFileError(saw, wanted="what docs/file-format.md says", do=_AGAIN) from error


# --- bytes in -------------------------------------------------------------------------------------------------------


def _read(path: Path) -> tuple[bytes, int, NDArray[np.uint8]]:
    """The header, the size of the file, and the bytes after the header, once all of them are known to be few."""
    _must_be_regular(path.stat().st_mode)  # asked before opening: to open a FIFO is to wait for its writer
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        _must(size > 0, "an empty file", "a file that tidegate wrote")
        _must(size <= MOST_BYTES, f"a file of {size:,} bytes", f"at most {MOST_BYTES:,}")
        length = int.from_bytes(_bytes(file, min(8, size)).tobytes(), "little")
        saw = "not a safetensors file, or a damaged one: its first eight bytes are no length of a header"
        _must(length <= MOST_HEADER, saw, "a model file that tidegate wrote")
        _must(8 + length <= size, f"{size} bytes: the file was cut short", f"at least {8 + length}")
        return _bytes(file, length).tobytes(), size, _bytes(file, size - 8 - length)


def _bytes(file: Any, count: int) -> NDArray[np.uint8]:
    """Exactly `count` bytes, in memory of their own that arrays can be views of."""
    room = np.empty(count, np.uint8)
    have = 0
    while have < count:
        got = file.readinto(room[have:].data)
        _must(got, "a file that became shorter while it was read", "a file that nobody writes to")
        have += got
    return room


def _must_be_regular(mode: int) -> None:
    saw = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
    _must(stat.S_ISREG(mode), saw, "a regular file", "give the path of a file")


def _view(data: NDArray[np.uint8], entry: _Entry) -> Array:
    begin, end = entry.data_offsets
    dtype = np.dtype(DTYPES[entry.dtype]).newbyteorder("<")
    return data[begin:end].view(dtype).reshape(entry.shape)


def _check_values(name: str, array: Array, kind: Kind) -> None:
    """Floats are finite (a state may hold NaN: a missing reading); a truth value is the byte 0 or 1."""
    if array.dtype == np.bool_:
        _must(array.view(np.uint8).max(initial=0) <= 1, f"array {name} holds truth values above 1", "0 or 1")
    if array.dtype.kind != "f":
        return
    # The two ends, not isfinite of each item: nothing is made that is the size of the array.
    low, high = (np.fmin, np.fmax) if kind == "state" else (np.minimum, np.maximum)
    with np.errstate(invalid="ignore"):
        ends = [end.reduce(array, axis=None, initial=0.0) for end in (low, high)]
    wanted = "finite numbers" + " or NaN for what is missing" * (kind == "state")
    _must(bool(np.isfinite(ends).all()), f"array {name} holds numbers from {ends[0]} to {ends[1]}", wanted)


# --- bytes out ------------------------------------------------------------------------------------------------------


def _plain(name: str, array: Any) -> Array:
    """The array as it lies in the file: row by row, low byte first."""
    array = np.asarray(array)
    _must(
        array.dtype.name in _CODES, f"array {name} is {array.dtype.name}", f"one of {', '.join(_CODES)}", "convert it"
    )
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _header(kind: Kind, spec: Mapping[str, Any], stored: Mapping[str, Array]) -> bytes:
    from importlib.metadata import version

    stamp = {"format": FORMAT, "kind": kind, "library": version("tidegate"), "spec": dict(spec)}
    try:
        text = json.dumps(stamp, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        saw = f"a specification that is not JSON: {error}"
        raise ModelFileError(saw, wanted="text, finite numbers, lists and dicts", do="convert it") from error
    top: dict[str, Any] = {"__metadata__": {"sha256": "0" * 64, "tidegate": text}}
    position = 0
    for name, array in stored.items():
        offsets = [position, position := position + array.nbytes]
        top[name] = {"dtype": _CODES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
    plain = json.dumps(top, separators=(",", ":")).encode()
    return plain + b" " * (-len(plain) % 8)
