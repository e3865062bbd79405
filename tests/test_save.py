"""Model files: what is written opens, what is damaged or hostile is refused by name, what fails leaves the old file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

from tidegate import save
from tidegate.errors import ModelFileError

SOURCE = Path(save.__file__).parent
SPEC = {"cell": "gru", "hidden": 2, "channels": ["flow", "Δp", 'a "b"\\'], "rate": 0.1, "seed": None}
ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "center": np.array([0.1, -0.0]),
    "rows": np.array([-(2**63), 2**63 - 1]),
    "noise": np.arange(5, dtype=np.uint8),
    "on": np.array([True, False]),
    "scalar": np.array(1.5),
    "none": np.empty((0, 4), np.float32),
}
IMPLIED = {name: (array.shape, array.dtype.name) for name, array in ARRAYS.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pump.safetensors"


@pytest.fixture
def good(path: Path) -> Path:
    save.write(path, "model", SPEC, ARRAYS)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path that many examples overwrite."""
    return tmp_path_factory.mktemp("scratch") / "a"


def sealed(header: bytes, data: bytes) -> bytes:
    """A file of any header and data, with the right digest where a header of ours has one."""
    if header.startswith(b'{"__metadata__":{"sha256":"'):
        header = header[: save._SEAL] + save._seal(header, [data]) + header[save._SEAL + 64 :]
    return len(header).to_bytes(8, "little") + header + data


def resealed(blob: bytes) -> bytes:
    length = int.from_bytes(blob[:8], "little")
    return sealed(blob[8 : 8 + length], blob[8 + length :]) if length < len(blob) else blob


def crafted(entries: object = (), data: bytes = b"", notes: object = None, **stamp: object) -> bytes:
    """A file whose header says what the test wants; all not given is right."""
    said = {"format": 1, "kind": "model", "library": "0.1.0", "spec": {}, **stamp}
    ours = {"sha256": "0" * 64, "tidegate": json.dumps(said, separators=(",", ":"))}
    top = {"__metadata__": ours if notes is None else notes, **dict(entries)}  # type: ignore[call-overload]
    return sealed(json.dumps(top, separators=(",", ":")).encode(), data)


def entry(shape: object, begin: object, end: object, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def raw(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and first[name].tobytes() == second[name].tobytes()
        for name in first
    )


# --- what is written opens ------------------------------------------------------------------------------------------


def test_what_was_written_is_read_back_bit_for_bit(good: Path) -> None:
    file = save.open_file(good, "model")
    assert (file.kind, file.spec, file.library) == ("model", SPEC, version("tidegate"))
    assert dict(file.table) == IMPLIED
    found = file.arrays(IMPLIED)
    assert same(found, ARRAYS)
    assert all(array.flags.writeable and array.flags.aligned and array.flags.c_contiguous for array in found.values())


def test_the_safetensors_library_reads_the_same(good: Path) -> None:
    assert same(load_file(good), ARRAYS)
    with safe_open(good, "numpy") as file:
        assert json.loads(file.metadata()["tidegate"])["spec"] == SPEC


def test_the_same_content_gives_the_same_bytes(good: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    swapped = {name: np.asarray(ARRAYS[name], order="F") for name in reversed(ARRAYS)}
    swapped["center"] = swapped["center"].astype(">f8")
    save.write(again, "model", dict(reversed(SPEC.items())), swapped)
    assert again.read_bytes() == good.read_bytes()


def test_a_view_with_strides_is_written_as_what_it_shows(path: Path) -> None:
    array = np.arange(24.0).reshape(4, 6)[::2, ::-3].T
    save.write(path, "state", {}, {"a": array})
    assert np.array_equal(save.open_file(path).arrays({"a": (array.shape, "float64")})["a"], array)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec=None)),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_specification_comes_back_equal(scratch: Path, value: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # a hundred real ones take seconds
        save.write(scratch, "checkpoint", {"value": value}, {})
    assert save.open_file(scratch).spec == {"value": value}


def test_a_state_may_hold_nan_and_a_model_may_not(path: Path) -> None:
    ring = {"ring": np.array([1.0, np.nan])}
    save.write(path, "state", {}, ring)
    assert same(save.open_file(path).arrays({"ring": ((2,), "float64")}), ring)
    for kind in ("model", "checkpoint"):
        with pytest.raises(ModelFileError, match="array ring holds numbers from nan"):
            save.write(path, kind, {}, ring)


@pytest.mark.parametrize("kind", ["model", "state", "checkpoint"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_written_nowhere(path: Path, kind: save.Kind, value: float) -> None:
    with pytest.raises(ModelFileError, match="inf"):
        save.write(path, kind, {}, {"a": np.array([np.nan, value] if kind == "state" else [0, value], np.float32)})
    assert not path.exists()


@pytest.mark.parametrize(
    ("spec", "arrays", "saw"),
    [
        ({"a": float("nan")}, {}, "not JSON"),
        ({"a": object()}, {}, "not JSON"),
        ({}, {"a": np.array(["text"])}, "array a is str"),
        ({}, {"a": np.ones(2, np.float16)}, "array a is float16"),
        ({}, {"a": None}, "array a is object"),
        ({}, {"../a b": np.ones(2)}, "arrays named '../a b'"),
        ({}, {"__metadata__": np.ones(2)}, "the header is not JSON"),
        ({}, {f"a{i}": np.ones(1) for i in range(1_001)}, "1,001 arrays"),
        ({"a": "x" * 1_000_000}, {}, "a header of 1,000,"),
        ({}, {"a": np.empty(18_750_000)}, "a file of 150,000,"),
    ],
)
def test_what_would_not_be_opened_is_not_written(path: Path, spec: Any, arrays: Any, saw: str) -> None:
    with pytest.raises(ModelFileError, match=re.escape(saw)):
        save.write(path, "model", spec, arrays)
    assert list(path.parent.iterdir()) == []


def test_a_specification_nested_too_deep_is_not_written(path: Path) -> None:
    spec: dict[str, Any] = {}
    for _ in range(save.MOST_DEPTH):
        spec = {"a": spec}
    with pytest.raises(ModelFileError, match="nested too deep"):
        save.write(path, "model", spec, {})


def test_a_file_written_by_the_page_alone_opens(path: Path) -> None:
    """docs/file-format.md is enough to write one by: nothing of save.py is used here."""
    said = '{\\"format\\":1,\\"kind\\":\\"model\\",\\"library\\":\\"none\\",\\"spec\\":{\\"hidden\\":2}}'
    start = '{"__metadata__":{"sha256":"'
    rest = f'","tidegate":"{said}"}},"bias":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}}}'
    rest += " " * (-len(start + "0" * 64 + rest) % 8)
    data = np.array([0.5, -2], "<f4").tobytes()
    digest = hashlib.sha256((start + "0" * 64 + rest).encode() + data).hexdigest()
    path.write_bytes(raw((start + digest + rest).encode(), data))
    file = save.open_file(path, "model")
    assert file.spec == {"hidden": 2}
    assert file.arrays({"bias": ((2,), "float32")})["bias"].tolist() == [0.5, -2]


def test_the_page_names_the_limits_that_hold() -> None:
    page = (Path(__file__).parents[1] / "docs" / "file-format.md").read_text()
    for limit in (save.MOST_BYTES, save.MOST_HEADER, save.MOST_ARRAYS, save.MOST_DEPTH):
        assert f" {limit:,}" in page
    assert all(code in page and name in page for code, name in save.DTYPES.items())
    assert f"`{save.FORMAT}`" in page


# --- what is damaged or hostile is refused ----------------------------------------------------------------------------

F = entry([2], 0, 8)
DATA = np.ones(2, np.float32).tobytes()
NAN = np.array([1, np.nan], np.float32).tobytes()
INF = np.array([1, -np.inf], np.float32).tobytes()
META_TEXT = json.loads(crafted()[8:])["__metadata__"]["tidegate"]
META = json.dumps(json.loads(crafted()[8:]))[1:-1].encode()

REFUSED: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "an empty file"),
    "three bytes": (b"abc", "it claims a header of 6,513,249 bytes"),
    "a zip": (b"PK\x03\x04" + bytes(100), "not a safetensors file"),
    "text": (b"time,flow\n1,2\n3,4\n", "not a safetensors file"),
    "a pickle": (b"\x80\x04\x95\x11\x00\x00\x00\x00\x00\x00\x00\x8c\x02os", "not a safetensors file"),
    "header length 2^63": ((2**63).to_bytes(8, "little") + b"{}", "a header of 9,223,372,036,854,775,808 bytes"),
    "header cut short": (crafted()[:60], "the file was cut short"),
    "header that is not text": (raw(b"\xff\xfe{}"), "not JSON that we read"),
    "header in UTF-16": (raw("{}".encode("utf-16")), "not JSON that we read"),
    "header that is not JSON": (raw(b"{'a':1}"), "not JSON that we read"),
    "header that is a list": (raw(b"[1,2]"), "the header is not a JSON object"),
    "header of a thousand brackets": (raw(b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"), "not JSON that we read"),
    "brackets too deep": (raw(b'{"a":' + b"[" * 40 + b"]" * 40 + b"}"), "nested too deep"),
    "specification too deep": (
        crafted(spec={"a": json.loads("[" * 40 + "]" * 40)}),
        "specification is nested too deep",
    ),
    "repeated array": (raw(b'{"a":1,' + META + b',"a":2}'), "repeated key 'a'"),
    "repeated key within": (raw(b'{"a":{"dtype":"F32","dtype":"F64"}}'), "repeated key 'dtype'"),
    "repeated key in the specification": (
        crafted(notes={"sha256": "0" * 64, "tidegate": '{"a":1,"a":1}'}),
        "repeated key 'a'",
    ),
    "NaN in the specification": (crafted(spec={"a": float("nan")}), "not finite: NaN"),
    "infinity by overflow": (crafted(notes={"sha256": "0" * 64, "tidegate": '{"a":-1e999}'}), "not finite: -1e999"),
    "no specification": (raw(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', DATA), "without tidegate's"),
    "another's metadata": (crafted(notes={"format": "pt"}), "without tidegate's"),
    "metadata beside ours": (crafted(notes={"sha256": "0" * 64, "tidegate": "{}", "more": ""}), "without tidegate's"),
    "metadata that is a list": (crafted(notes=["tidegate"]), "without tidegate's"),
    "specification that is no text": (crafted(notes={"sha256": "0" * 64, "tidegate": {}}), "without tidegate's"),
    "format 2": (crafted(format=2), "a file of format 2"),
    "format True": (crafted(format=True), "a file of format True"),
    "format of 4,000 digits": (crafted(format=10**4_000), "a file of format 1000"),
    "no format": (crafted(notes={"sha256": "0" * 64, "tidegate": "{}"}), "a file of format None"),
    "unknown kind": (crafted(kind="program"), "does not keep the format: Invalid enum value 'program'"),
    "specification that is a list": (crafted(spec=[]), "Expected `object`, got `array` - at `$.spec`"),
    "unknown field": (crafted(code="import os"), "unknown field `code`"),
    "half a surrogate pair": (crafted({"a": entry([2], 0, 8, "\ud800")}, DATA), "does not keep the format"),
    "name with a path": (crafted({"../a": F}, DATA), "arrays named '../a'"),
    "empty name": (crafted({"": F}, DATA), "arrays named ''"),
    "unknown dtype": (crafted({"a": entry([4], 0, 8, "F16")}, DATA), "Invalid enum value 'F16'"),
    "negative side": (crafted({"a": entry([-2], 0, 8)}, DATA), "Expected `int` >= 0"),
    "side that is a fraction": (crafted({"a": entry([2.0], 0, 8)}, DATA), "Expected `int`, got `float`"),
    "side that is true": (crafted({"a": entry([True, 2], 0, 8)}, DATA), "Expected `int`, got `bool`"),
    "side of 4,000 digits": (crafted({"a": entry([10**4_000], 0, 8)}, DATA), "does not keep the format"),
    "shape overflow": (crafted({"a": entry([2**32, 2**32, 2], 0, 8)}, DATA), "8 bytes for array a"),
    "too many sides": (crafted({"a": entry([1] * 9, 0, 4)}, DATA[:4]), "of length <= 8"),
    "empty array with huge sides": (crafted({"a": entry([0, 2**50, 2**50], 0, 0)}), "array a of shape"),
    "one offset": (crafted({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}}, DATA), "of length 2"),
    "entry with more to say": (crafted({"a": {**F, "code": 1}}, DATA), "unknown field `code`"),
    "hole": (crafted({"a": F, "b": entry([1], 12, 16)}, DATA * 2), "array b at byte 12"),
    "overlap": (crafted({"a": F, "b": entry([1], 4, 8)}, DATA), "array b at byte 4"),
    "twice the same bytes": (crafted({"a": F, "b": F}, DATA), "array b at byte 0"),
    "end before begin": (crafted({"a": F, "b": entry([1], 8, 4)}, DATA), "-4 bytes for array b"),
    "shape larger than its bytes": (crafted({"a": entry([3], 0, 8)}, DATA), "8 bytes for array a"),
    "not a multiple of the item": (
        crafted({"a": entry([1], 0, 1, "U8"), "b": entry([1], 1, 5)}, DATA[:5]),
        "a multiple of 4",
    ),
    "data cut short": (crafted({"a": F}, DATA[:7]), "7 bytes of arrays: the file was cut short"),
    "trailing bytes": (crafted({"a": F}, DATA + b"PK"), "2 bytes too many at the end"),
    "NaN weight": (crafted({"a": F}, NAN), "array a holds numbers from nan"),
    "infinite weight": (crafted({"a": F}, INF), "array a holds numbers from -inf"),
    "infinity in a state": (crafted({"a": F}, INF, kind="state"), "array a holds numbers from -inf"),
    "NaN in a checkpoint": (crafted({"a": F}, NAN, kind="checkpoint"), "array a holds numbers from nan"),
    "truth value 2": (crafted({"a": entry([2], 0, 2, "BOOL")}, b"\x01\x02"), "truth values above 1"),
    "wrong digest": (crafted({"a": F}, DATA)[:-1] + b"\x00", "bytes have changed"),
    "digest of no digits": (crafted({"a": F}, DATA, notes={"sha256": 1, "tidegate": META_TEXT}), "bytes have changed"),
    "1,001 arrays": (crafted({f"a{i}": entry([0], 0, 0) for i in range(1_001)}), "1,001 arrays"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_crafted_file_is_refused_by_name(path: Path, case: str) -> None:
    blob, saw = REFUSED[case]
    path.write_bytes(blob)
    with pytest.raises(ModelFileError, match=re.escape(saw)) as caught:
        save.open_file(path)
    assert caught.value.where == str(path)
    assert caught.value.wanted
    assert caught.value.do
    assert len(str(caught.value)) < 2_000


def test_the_crafted_files_are_refused_for_that_reason_alone(path: Path) -> None:
    path.write_bytes(crafted({"a": F}, DATA))
    assert save.open_file(path).arrays({"a": ((2,), "float32")})["a"].tolist() == [1, 1]


def test_all_wrong_arrays_are_listed_sorted_in_one_message(good: Path) -> None:
    implied = {**IMPLIED, "zeta": ((1,), "bool"), "alpha": ((2,), "int64"), "center": ((3,), "float32")}
    del implied["weight"], implied["on"]
    listed = (
        "alpha is missing; zeta is missing; on is not expected; weight is not expected; "
        "center is float64 (2,), not float32 (3,)"
    )
    with pytest.raises(ModelFileError, match=re.escape(listed)) as caught:
        save.open_file(good).arrays(implied)
    assert caught.value.where == str(good)


def test_a_thousand_wrong_names_do_not_flood_the_message(path: Path) -> None:
    save.write(path, "model", {}, {f"{'a' * 190}{i}": np.zeros(1) for i in range(1_000)})
    with pytest.raises(ModelFileError, match="; and 988 more") as caught:
        save.open_file(path).arrays({})
    assert len(str(caught.value)) < 3_000


def test_a_file_of_another_kind_is_refused(good: Path) -> None:
    with pytest.raises(ModelFileError, match=r"this file holds a model\n.*\n  wanted: a state"):
        save.open_file(good, "state")


def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for place, saw in [(tmp_path, "a folder"), (fifo, "a pipe"), (Path("/dev/zero"), "device")]:
        with pytest.raises(ModelFileError, match=saw):
            save.open_file(place)
        with pytest.raises(ModelFileError, match=saw):
            save.write(place, "model", SPEC, ARRAYS)
    assert not Path("/dev/zero").is_file()
    assert list(tmp_path.iterdir()) == [fifo]


def test_a_missing_file_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="No such file"):
        save.open_file(tmp_path / "a")
    with pytest.raises(ModelFileError, match="the folder must exist"):
        save.write(tmp_path / "a" / "b", "model", SPEC, ARRAYS)


def test_every_single_flipped_bit_is_noticed(good: Path) -> None:
    blob = good.read_bytes()
    for place in range(len(blob)):
        flipped = bytearray(blob)
        flipped[place] ^= 1 << (place % 8)
        good.write_bytes(flipped)
        with pytest.raises(ModelFileError):
            save.open_file(good)


def good_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save.write(Path(folder) / "a", "model", SPEC, ARRAYS)
        return (Path(folder) / "a").read_bytes()


GOOD = good_bytes()


def mutated(blob: bytes, steps: list[tuple[str, float, bytes]]) -> bytes:
    for how, where, with_ in steps:
        at = int(where * len(blob))
        cut = at + len(with_) * (how != "insert")
        blob = blob[:at] + (b"" if how == "delete" else with_) + blob[cut:]
    return blob


TOKENS = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"0",
    b"-1",
    b"1e999",
    b"NaN",
    b"9" * 30,
    b'"F64"',
    b"\\ud800",
    b"\x00",
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "delete"]),
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=600)
@given(STEPS, st.booleans())
@example([("delete", 0.0, b"12345678")], False)
def test_a_mutated_file_opens_equal_or_is_refused_and_nothing_else(scratch: Path, steps: Any, sealing: bool) -> None:
    """With the digest made right again, the rules behind it are met; content may then differ, but nothing breaks."""
    blob = mutated(GOOD, steps)
    scratch.write_bytes(resealed(blob) if sealing else blob)
    with contextlib.suppress(ModelFileError):
        file = save.open_file(scratch)
        assert sealing or (file.spec == SPEC and same(file.arrays(IMPLIED), ARRAYS))
        assert set(file.arrays(file.table)) == set(file.table)


# --- bounds ---------------------------------------------------------------------------------------------------------

MEASURE = """
import re, sys, time
from pathlib import Path
from tidegate import save
began = time.process_time()
try:
    file = save.open_file(sys.argv[1])
    said = "opened"
except save.ModelFileError as error:
    said = error.saw
seconds = time.process_time() - began
most = int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000
print(seconds, most, said, sep="|")
"""


def many_empty_arrays() -> bytes:
    one = '"a%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    return raw(b"{" + META + b"," + ",".join(one % i for i in range(200_000)).encode() + b"}")


def many_brackets() -> bytes:
    return crafted(spec={"a": [[]] * 240_000})


HOSTILE: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "200,000 empty arrays": (many_empty_arrays, 0, "not a safetensors file"),
    "a header of 101 MB": (
        lambda: (101_000_000).to_bytes(8, "little") + b'{"a":',
        110_000_000,
        "not a safetensors file",
    ),
    "a sparse file of 10 GB": (lambda: crafted({"a": F}, DATA), 10_000_000_000, "a file of"),
    "a specification of 240,000 lists": (many_brackets, 0, "opened"),
}


def measured(path: Path) -> tuple[float, float, str]:
    ran = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    seconds, megabytes, said = ran.stdout.strip().split("|")
    return float(seconds), float(megabytes), said


@pytest.mark.parametrize("case", HOSTILE)
def test_opening_a_hostile_file_is_bounded_in_time_and_memory(path: Path, case: str) -> None:
    make, size, expected = HOSTILE[case]
    path.write_bytes(make())
    if size:
        os.truncate(path, size)
    seconds, megabytes, said = measured(path)
    assert said.startswith(expected)
    assert seconds < 1
    assert megabytes < 200


def test_opening_the_largest_file_is_bounded_in_time_and_memory(path: Path) -> None:
    save.write(path, "state", {}, {"a": np.full(37_499_000, np.nan, np.float32)})
    assert 149_900_000 < path.stat().st_size <= save.MOST_BYTES
    seconds, megabytes, said = measured(path)
    assert said == "opened"
    assert seconds < 1
    assert megabytes < 200


# --- what fails leaves the old file ---------------------------------------------------------------------------------

BIG = {"a": np.zeros(500_000)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("a small disk needs the right to mount one")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk: Path) -> None:
    path = small_disk / "pump.safetensors"
    save.write(path, "model", SPEC, ARRAYS)
    before = path.read_bytes()
    with pytest.raises(ModelFileError, match=r"No space left(.|\n)*free space") as caught:
        save.write(path, "model", SPEC, BIG)
    assert caught.value.where == str(path)
    assert path.read_bytes() == before
    assert list(small_disk.iterdir()) == [path]


def test_a_file_size_limit_leaves_the_old_file_and_nothing_else(good: Path) -> None:
    before = good.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(ModelFileError, match="File too large"):
            save.write(good, "model", SPEC, BIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert good.read_bytes() == before
    assert list(good.parent.iterdir()) == [good]


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of a user without privileges, who we are until the test ends (as root, permissions do not bind)."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(place, 65534, 65534)
        os.setresuid(65534, 65534, 0)
    try:
        version("tidegate")
        yield place
    except PackageNotFoundError:
        pytest.skip("another user cannot read the environment these tests run in")
    finally:
        if is_root:
            os.setresuid(0, 0, 0)
        place.chmod(0o700)
        shutil.rmtree(place)


def test_a_read_only_folder_leaves_the_old_file(nobody: Path) -> None:
    path = nobody / "pump.safetensors"
    save.write(path, "model", SPEC, ARRAYS)
    before = path.read_bytes()
    nobody.chmod(0o500)
    with pytest.raises(ModelFileError, match="Permission denied"):
        save.write(path, "model", SPEC, BIG)
    assert path.read_bytes() == before
    assert list(nobody.iterdir()) == [path]
    nobody.chmod(0o000)
    with pytest.raises(ModelFileError, match="Permission denied"):
        save.open_file(path)


def test_a_write_protected_file_stays(nobody: Path) -> None:
    path = nobody / "pump.safetensors"
    save.write(path, "model", SPEC, ARRAYS)
    path.chmod(0o400)
    with pytest.raises(ModelFileError, match="write-protected"):
        save.write(path, "model", SPEC, BIG)
    assert save.open_file(path).spec == SPEC
    path.chmod(0o000)
    with pytest.raises(ModelFileError, match="Permission denied"):
        save.open_file(path)


def test_a_replaced_file_keeps_its_permissions_and_a_link_stays_a_link(good: Path, tmp_path: Path) -> None:
    good.chmod(0o600)
    link = tmp_path / "latest"
    link.symlink_to(good)
    save.write(link, "state", {}, {})
    assert link.is_symlink()
    assert save.open_file(good).kind == "state"
    assert good.stat().st_mode & 0o777 == 0o600


KEEP_WRITING = """
import sys
import numpy as np
from tidegate import save
for i in range(10**9):
    save.write(sys.argv[1], "checkpoint", {"i": i}, {"a": np.full(200_000, float(i))})
    print(i, flush=True)
"""


@pytest.mark.parametrize("after", [0.002, 0.005, 0.011])
def test_a_killed_writer_leaves_a_file_that_opens(path: Path, after: float) -> None:
    with subprocess.Popen([sys.executable, "-c", KEEP_WRITING, path], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"0\n"
        time.sleep(after)
        writer.send_signal(signal.SIGKILL)
        last = int((b"0\n" + writer.stdout.read()).splitlines()[-1])
    file = save.open_file(path)
    assert file.spec["i"] in (last, last + 1)
    assert np.all(file.arrays({"a": ((200_000,), "float64")})["a"] == file.spec["i"])


def test_no_source_file_knows_a_loader_that_runs_code() -> None:
    banned = re.compile(r"pickle|joblib|torch\.load|\beval\(|\bexec\(|yaml\.load|marshal|shelve")
    found = [
        f"{file.relative_to(SOURCE)}:{number}: {line.strip()}"
        for file in sorted(SOURCE.rglob("*.py"))
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if banned.search(line)
    ]
    assert not found, "\n".join(found)
