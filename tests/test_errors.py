"""A refusal says what it saw, what it wanted and what to do; and the package refuses in no other way."""

from __future__ import annotations

import ast
import copy
from pathlib import Path

import pytest

import tidegate as tg
from tidegate import errors
from tidegate.errors import DataError, MissingExtraError, TidegateError

PACKAGE = Path(errors.__file__).parent
OURS = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, TidegateError)}


def test_a_refusal_has_its_parts_a_line_each_in_order() -> None:
    error = DataError("41 rows", wanted="64", do="give more", where="pump.csv")
    assert str(error).splitlines() == ["41 rows", "  where: pump.csv", "  wanted: 64", "  do: give more"]
    assert (error.saw, error.wanted, error.do, error.where) == ("41 rows", "64", "give more", "pump.csv")
    assert str(DataError("41 rows")) == "41 rows"


def test_a_refusal_survives_being_copied() -> None:
    error = DataError("41 rows", wanted="64", do="give more")
    again = copy.copy(error)
    assert str(again) == str(error)
    assert (again.saw, again.wanted, again.do) == ("41 rows", "64", "give more")


@pytest.mark.parametrize("name", sorted(OURS - {"TidegateError"}))
def test_each_refusal_is_also_the_builtin_that_callers_expect(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, ImportError if name == "MissingExtraError" else ValueError)
    assert kind.__doc__


def test_the_tree_at_the_top_of_the_file_is_the_tree() -> None:
    assert {line.split()[-1] if line.strip() == "TidegateError" else line.split()[1] for line in tree()} == OURS


def tree() -> list[str]:
    return [line for line in (errors.__doc__ or "").splitlines() if line.strip() == "TidegateError" or "──" in line]


def test_every_refusal_can_be_imported_from_the_front_door() -> None:
    assert {name for name in tg.__all__ if name.endswith("Error")} == OURS
    assert all(getattr(tg, name) is getattr(errors, name) for name in OURS)


def test_a_missing_extra_says_what_to_type() -> None:
    assert "pip install 'tidegate[train]'" in str(MissingExtraError.of("torch", "train"))


def raised() -> list[tuple[str, ast.Call]]:
    """Every error of ours that the package raises, with where."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) in OURS:
                found.append((f"{path.relative_to(PACKAGE)}:{node.lineno}", node.exc))
    return found


def test_every_refusal_says_what_it_wanted_or_what_to_do() -> None:
    calls = raised()
    assert len(calls) > 20
    silent = [where for where, call in calls if not {"wanted", "do"} & {word.arg for word in call.keywords}]
    assert silent == []


def test_the_package_raises_no_bare_value_or_type_error() -> None:
    bare = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = ast.unparse(node.exc).split("(")[0] if isinstance(node, ast.Raise) and node.exc else ""
            if name in ("Exception", "RuntimeError", "TypeError", "KeyError", "AssertionError"):
                bare.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {name}")
    assert bare == []
