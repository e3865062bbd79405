"""The house: what the design promises about the tree itself. Every offender is named: a failure is a to-do list.

The ladder is the map in README.md: a file imports only from lines above its own. The map is tested against the tree.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "tidegate"
HEAVY = ("torch", "polars", "plotly", "sklearn", "pandas", "pyarrow", "sqlalchemy", "matplotlib", "scipy")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    path: str  # "tasks/anomaly.py"
    module: str  # "tidegate.tasks.anomaly"
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.module if self.path.endswith("__init__.py") else self.module.rpartition(".")[0]


@cache
def sources() -> dict[str, Source]:
    """Every file of the package by the name of its module."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        path = file.relative_to(PACKAGE)
        parts = path.with_suffix("").parts
        module = ".".join(["tidegate", *(parts[:-1] if parts[-1] == "__init__" else parts)])
        found[module] = Source(path.as_posix(), module, file.read_text(), ast.parse(file.read_text()))
    return found


def functions(*, nested: bool = True) -> Iterator[tuple[str, Source, Function, bool]]:
    """(where, file, function, whether it is a method) for each function of the package."""

    def walk(node: ast.AST, source: Source, inside: str, method: bool) -> Iterator[tuple[str, Source, Function, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Function):
                yield f"{source.path}:{child.lineno} {inside}{child.name}", source, child, method
                if nested:
                    yield from walk(child, source, f"{inside}{child.name}.", False)
            elif isinstance(child, ast.ClassDef):
                yield from walk(child, source, f"{inside}{child.name}.", True)
            else:
                yield from walk(child, source, inside, method)

    for source in sources().values():
        yield from walk(source.tree, source, "", False)


def body(function: Function) -> list[ast.stmt]:
    """The statements after the docstring."""
    return function.body[ast.get_docstring(function, clean=False) is not None :]


def length(function: Function) -> int:
    """Lines from the first statement after the docstring to the last."""
    left = body(function)
    return (left[-1].end_lineno or 0) - left[0].lineno + 1 if left else 0


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def import_nodes(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Each import, in functions too, without those that only a type checker follows."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and for_types_only(child):
            for other in child.orelse:
                yield from import_nodes(other)
        else:
            yield from import_nodes(child)


def targets(source: Source, node: ast.Import | ast.ImportFrom) -> set[str]:
    """The modules of the package that one import statement names."""
    if isinstance(node, ast.Import):
        named = {alias.name for alias in node.names}
    else:
        package = source.package.split(".")
        base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
        base = ".".join(filter(None, [base, node.module]))
        named = {f"{base}.{alias.name}" if f"{base}.{alias.name}" in sources() else base for alias in node.names}
    return {name for name in named if name in sources()}


@cache
def imports() -> dict[str, dict[str, int]]:
    """module -> the modules of the package that it imports, with the line of the first import."""
    found: dict[str, dict[str, int]] = {}
    for source in sources().values():
        lines: dict[str, int] = {}
        for node in import_nodes(source.tree):
            for target in targets(source, node) - {source.module}:
                lines.setdefault(target, node.lineno)
        found[source.module] = lines
    return found


def the_map() -> list[tuple[str, str]]:
    """(path, sentence) for each line of the map in README.md, in its order."""
    text = (ROOT / "README.md").read_text()
    blocks = [block for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL) if "src/tidegate/\n" in block]
    if len(blocks) != 1:
        pytest.fail(f"README.md has {len(blocks)} fenced blocks with a line 'src/tidegate/'; it must have one, the map")
    entries, folders = [], {0: ""}
    for line in blocks[0].split("src/tidegate/\n")[1].splitlines():
        if match := re.fullmatch(r"( +)(\S+)(?: +(\S.*))?", line):
            indent, name, sentence = len(match[1]), match[2], match[3] or ""
            parent = folders[max(depth for depth in folders if depth < indent)]
            folders = {depth: folder for depth, folder in folders.items() if depth < indent}
            if name.endswith("/"):
                folders[indent] = parent + name
            entries.append((parent + name, sentence))
    return entries


def offenders(found: list[str], rule: str) -> None:
    assert not found, "\n  ".join([f"{rule}:", *found])


# --- the map and the ladder -----------------------------------------------------------------------------------------


def test_the_readme_map_is_the_tree() -> None:
    entries = the_map()
    paths = [path for path, _ in entries]
    files = {source.path for source in sources().values()}
    wrong = [f"{path} has no line" for path in sorted(files - set(paths))]
    wrong += [f"{path} has no file" for path in paths if not (PACKAGE / path).exists()]
    wrong += [f"{path} has no sentence" for path, sentence in entries if path.endswith(".py") and not sentence]
    wrong += [f"{path} has {paths.count(path)} lines" for path in sorted(set(paths)) if paths.count(path) > 1]
    offenders(wrong, "the map in README.md has one line per file, with a sentence")


def test_imports_only_climb_the_ladder() -> None:
    rank = {path: number for number, (path, _) in enumerate(the_map())}
    wrong = []
    for module, lines in imports().items():
        source = sources()[module]
        for target, line in lines.items():
            above = sources()[target]
            if source.path not in rank or above.path not in rank:
                continue  # the test of the map names them
            # An __init__ stands for its folder: it may import its siblings below it, they may not import it.
            own_sibling = (
                source.path.endswith("__init__.py") and above.package == source.module and source.package != "tidegate"
            )
            own_init = above.path.endswith("__init__.py") and source.package == above.module != "tidegate"
            if own_init or (rank[above.path] > rank[source.path] and not own_sibling):
                wrong.append(f"{source.path}:{line} imports {above.path}")
    offenders(wrong, "a file imports only from lines above it in the map of README.md")


def test_no_import_goes_in_a_circle_not_even_lazily() -> None:
    circles: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        if module in trail:
            circle = trail[trail.index(module) :]
            first = circle.index(min(circle))
            circles.add(" -> ".join([*circle[first:], *circle[:first], min(circle)]))
        elif module not in done:
            for target in imports()[module]:
                visit(target, (*trail, module))
            done.add(module)

    done: set[str] = set()
    for module in imports():
        visit(module, ())
    offenders(sorted(circles), "no import cycles")


def test_no_import_hides_from_these_tests() -> None:
    """Imports by name are for packages of others; only the lazy names of `tidegate` itself are ours."""
    wrong = []
    for source in sources().values():
        for node in ast.walk(source.tree):
            called = isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2]
            if called in ("import_module", "__import__") and source.module != "tidegate":
                name = node.args[0] if isinstance(node, ast.Call) and node.args else None
                plain = isinstance(name, ast.Constant) and not str(name.value).startswith((".", "tidegate"))
                wrong += [] if plain else [f"{source.path}:{node.lineno} {ast.unparse(node)}"]  # type: ignore[attr-defined]
    offenders(wrong, "import_module is given the plain name of a package of others")


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_files_are_short() -> None:
    sizes = {source.path: len(source.text.splitlines()) for source in sources().values()}
    offenders([f"{path}: {size}" for path, size in sizes.items() if size > 500], "a file has at most 500 lines")
    longest = ", ".join(f"{path} {size}" for path, size in sorted(sizes.items(), key=lambda item: -item[1])[:8])
    assert statistics.median(sizes.values()) <= 200, f"the median file has over 200 lines; the longest: {longest}"


def test_functions_are_short() -> None:
    sizes = {where: length(function) for where, _, function, _ in functions()}
    offenders([f"{where}: {size}" for where, size in sizes.items() if size > 60], "a function has at most 60 lines")
    longest = "\n  ".join(f"{where}: {size}" for where, size in sorted(sizes.items(), key=lambda item: -item[1])[:25])
    mean = statistics.mean(sizes.values())
    assert mean <= 13, f"the mean function has {mean:.2f} lines, over 13; the longest:\n  {longest}"


def test_functions_take_at_most_ten_arguments() -> None:
    wrong = []
    for where, source, function, method in functions():
        given = function.args
        count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs) + bool(given.vararg)
        static = any(ast.unparse(mark) == "staticmethod" for mark in function.decorator_list)
        count -= method and not static
        if count > 10 and source.path != "nn.py":  # nn.py copies torch's signatures
            wrong.append(f"{where}: {count}")
    offenders(wrong, "a function takes at most 10 arguments")


def test_no_function_takes_arguments_it_does_not_name() -> None:
    # set_params(**params) is scikit-learn's own signature, which clone and GridSearchCV call.
    wrong = [where for where, _, function, _ in functions() if function.args.kwarg and function.name != "set_params"]
    offenders(wrong, "no **kwargs tunnels")


def code_lines(text: str) -> int:
    """Lines that hold code: no blank ones, no comments, no docstrings."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docs.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - docs)


def test_code_lines_are_counted_without_docstrings_comments_and_blanks() -> None:
    text = '"""Doc.\n\nMore."""\n\n# why\nx = """a\n\nb"""  # c\n\n\ndef f() -> int:\n    """Doc."""\n    return 1\n'
    assert code_lines(text) == 5


def test_one_task_can_be_read_in_an_afternoon() -> None:
    """The files that run when the task is imported, counted in a process of its own."""
    ours = run(
        "import tidegate.tasks.anomaly, sys; print(*(n for n in sys.modules if n.partition('.')[0] == 'tidegate'))"
    )
    costs = {sources()[name].path: code_lines(sources()[name].text) for name in ours.split() if name in sources()}
    listed = ", ".join(f"{path} {cost}" for path, cost in sorted(costs.items(), key=lambda item: -item[1]))
    assert sum(costs.values()) <= 2_500, f"reading cost of tasks/anomaly is {sum(costs.values())}: {listed}"


# --- classes --------------------------------------------------------------------------------------------------------


@cache
def classes() -> list[tuple[Source, ast.ClassDef]]:
    """Every class of the package."""
    return [
        (source, node)
        for source in sources().values()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ClassDef)
    ]


def ours_above(source: Source, node: ast.ClassDef) -> list[tuple[Source, ast.ClassDef]]:
    """The classes of the package that this one names as its bases: of its own file, else of any."""
    names = [re.sub(r"\[.*", "", ast.unparse(base)).rpartition(".")[2] for base in node.bases]
    found = []
    for name in names:
        alike = [(where, other) for where, other in classes() if other.name == name and other is not node]
        found += [(where, other) for where, other in alike if where is source] or alike
    return found


def abstract(node: Function) -> bool:
    """A method that says what must be there, and does nothing."""
    marks = {ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list}
    left = [ast.unparse(statement) for statement in body(node)]
    empty = not left or (
        len(left) == 1 and (left[0] in ("...", "pass") or left[0].startswith("raise NotImplementedError"))
    )
    return empty or bool(marks & {"abstractmethod", "overload"})


def test_inheritance_inside_the_package_has_one_level() -> None:
    wrong = [
        f"{source.path}:{node.lineno} {node.name} < {above.name} < {top.name}"
        for source, node in classes()
        for where, above in ours_above(source, node)
        for _, top in ours_above(where, above)
    ]
    offenders(wrong, "at most one level of inheritance inside the package")


def test_no_concrete_method_is_overridden() -> None:
    wrong = []
    for source, node in classes():
        own = {item.name: item.lineno for item in node.body if isinstance(item, Function)}
        for _, above in ours_above(source, node):
            for item in above.body:
                if isinstance(item, Function) and item.name in own and not abstract(item):
                    wrong.append(
                        f"{source.path}:{own[item.name]} {node.name}.{item.name} overrides that of {above.name}"
                    )
    offenders(wrong, "no overridden concrete methods")


# --- names and types ------------------------------------------------------------------------------------------------


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2_000:]
    return ran.stdout


def test_the_public_names_are_few_and_all_there() -> None:
    public = run("import tidegate; print(*tidegate.__all__)").split()
    assert len(public) <= 40, f"{len(public)} public names"
    offenders(sorted({"online", "Onward", "Tag"} - {*public}), "what the guide speaks of is public")
    shown = run("import tidegate; print(*(n for n in dir(tidegate) if not n.startswith('_')))").split()
    offenders(sorted(set(public) ^ set(shown)), "dir(tidegate) and tidegate.__all__ are the same")
    missing = run("import tidegate\nfor n in tidegate.__all__:\n    getattr(tidegate, n, None) or print(n)").split()
    offenders(missing, "every public name can be had")
    seen = {
        alias.asname or alias.name
        for node in ast.walk(sources()["tidegate"].tree)
        if isinstance(node, ast.If) and for_types_only(node)
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    offenders(sorted(set(public) ^ seen) if seen else [], "a type checker sees the public names and no others")


FIRST_USE = """
import importlib, sys
import tidegate
names, modules = tidegate.__all__, {modules!r}
for before in (False, True):
    for name in names:
        for module in [module for module in sys.modules if module.partition(".")[0] == "tidegate"]:
            if not module.endswith("._core"):  # what is compiled can be loaded once
                del sys.modules[module]
        if before and f"tidegate.{{name}}" in modules:
            importlib.import_module(f"tidegate.{{name}}")
        print(name, type(getattr(importlib.import_module("tidegate"), name, None)).__name__)
"""


def test_a_public_name_means_the_same_whatever_was_imported_before() -> None:
    """`tidegate.read` is a function though `read.py` is a module: that the module was imported must not hide it."""
    told = run(FIRST_USE.format(modules=list(sources()))).splitlines()
    fresh, after = told[: len(told) // 2], told[len(told) // 2 :]
    changed = [f"{one}, then {other}" for one, other in zip(fresh, after, strict=True) if one != other]
    offenders(changed, "a public name changes when the module of its name was imported first")


def test_public_functions_are_fully_annotated() -> None:
    wrong = []
    for where, _, function, method in functions(nested=False):
        names = where.split(" ")[1].split(".")
        if any(name.startswith("_") and not name.startswith("__") for name in names):
            continue
        given = function.args
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, [given.vararg, given.kwarg])]
        static = any(ast.unparse(mark) == "staticmethod" for mark in function.decorator_list)
        bare = [item.arg for item in every[method and not static :] if item.annotation is None]
        bare += ["the result"] if function.returns is None else []
        wrong += [f"{where}: {', '.join(bare)}"] if bare else []
    offenders(wrong, "public functions are fully typed")


# --- what is loaded, what is named ----------------------------------------------------------------------------------

SHOW_HEAVY = f"\nimport sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"


def test_importing_tidegate_imports_nothing_heavy() -> None:
    offenders(run("import tidegate" + SHOW_HEAVY).split(), "`import tidegate` imports")


def test_help_imports_nothing_heavy() -> None:
    code = "from tidegate.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    offenders(run(code + SHOW_HEAVY).splitlines()[-1].split(), "`tidegate --help` imports")


def files_of_the_tree() -> list[Path]:
    """What git would carry, or all that is here where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not any(part.startswith(".") for part in path.parts)]


def test_nothing_names_the_machine_it_was_made_on() -> None:
    places = r"(?<![\w.])/(?:wor[k]|opt/pyp[i]|opt/wheel[s]|tmp/ven[v]|tmp/pla[n])(?![\w-])"
    hosts = r"pyp[i]\.|pythonhoste[d]|index-ur[l]|npmj[s]|find-link[s]|trusted-hos[t]"
    wrong = []
    for path in files_of_the_tree():
        data = path.read_bytes()
        if b"\0" in data[:4_096]:
            continue
        for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
            if match := re.search(f"{places}|{hosts}", line):
                wrong.append(f"{path.relative_to(ROOT)}:{number} {match[0]}")
    offenders(wrong, "nothing names a place of one machine or a package registry")
