"""The plan of the package: which room may import which, and how long modules and functions are."""

import ast
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT

PACKAGE = "opnmf_pipeline"

ARROWS = {
    "cli": {"runs"},
    "runs": {"engines"},
    "engines": {"nodes"},
    "nodes": {"stages"},
    "estimators": {"stages"},
    "stages": {"images", "adjustment", "selection", "decomposition", "reporting"},
    "decomposition": {"selection"},
}
"""From each room to those below it. It may also import the rooms below these."""

FOUNDATIONS = {
    PACKAGE,
    *("config", "dataset", "disk", "exceptions", "files", "locks", "logs", "progress", "tables"),
    "workers",
}
"""What every room may import; the first one is the package itself, for its version."""

REGISTRIES = {f"{PACKAGE}.decomposition.solvers", f"{PACKAGE}.selection.rules"}
SINGLE_MODULES = {"config": REGISTRIES}
"""Modules of other rooms that a room may import besides: the settings list solvers and rules."""

MATHEMATICS = {"adjustment", "decomposition", "selection"}
NOT_MATHEMATICS = {"nibabel", "nilearn", "nipype", "pydra"}

VOLUMES = (
    "images.volumes.",
    "images.surfaces.",
    "images.simulation",
    "reporting.volumes.",
    "reporting.surfaces.",
)
"""Modules that may know how volumes are stored and drawn."""

LONGEST_MODULE = 500
LONGEST_FUNCTION = 80

SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / PACKAGE).rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8"), path) for name, path in SOURCES.items()}


def room_of(module):
    """Return the folder of a module, or the module where it is in none."""
    return module.split(".")[1] if "." in module else module


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield all that a module imports, in functions and for type checkers as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def module_of(name):
    """Return the module of this package that an imported name is or is in; None for others."""
    parents = [name, name.rpartition(".")[0]]
    return next((parent for parent in parents if parent in SOURCES), None)


IMPORTS = {
    module: {found for name in imported(tree) if (found := module_of(name))} - {module}
    for module, tree in TREES.items()
}


def below(rooms):
    """Return rooms and all that their arrows lead to."""
    return rooms.union(*(below(ARROWS.get(room, set())) for room in rooms))


def against_the_arrows():
    for module, others in IMPORTS.items():
        room = room_of(module)
        allowed = below(ARROWS.get(room, set())) | FOUNDATIONS | {room}
        for other in others - SINGLE_MODULES.get(room, set()):
            if room_of(other) not in allowed:
                yield module, other


def circles():
    """Yield the modules from which imports lead back to them."""
    for module in IMPORTS:
        reached, to_do = set(), [module]
        while to_do:
            new = IMPORTS[to_do.pop()] - reached
            reached |= new
            to_do += new
        if module in reached:
            yield module


def test_imports_follow_the_arrows():
    assert list(against_the_arrows()) == []


def test_no_module_imports_itself_through_others():
    assert list(circles()) == []


@pytest.mark.parametrize("room", sorted(MATHEMATICS))
def test_mathematics_knows_no_images_and_no_engines(room):
    names = {
        name.split(".")[0]
        for module, tree in TREES.items()
        if room_of(module) == room
        for name in imported(tree)
    }
    assert names
    assert not names & NOT_MATHEMATICS


def test_only_their_space_knows_volumes():
    knowing = {
        module
        for module, tree in TREES.items()
        if {name.split(".")[0] for name in imported(tree)} & {"nibabel", "nilearn"}
    }
    assert knowing
    assert all(module.removeprefix(f"{PACKAGE}.").startswith(VOLUMES) for module in knowing)


def n_lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function from ``def`` on, without those of its docstring."""
    n_lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        n_lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return n_lines


def test_modules_and_functions_are_short():
    long = set()
    for module, tree in TREES.items():
        if len(SOURCES[module].read_text(encoding="utf-8").splitlines()) > LONGEST_MODULE:
            long.add(module)
        for node in ast.walk(tree):
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if function and n_lines_of(node) > LONGEST_FUNCTION:
                long.add(f"{module}.{node.name}")
    assert long == set()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import a.b as c", ["a.b"]),
        ("from a.b import c, d", ["a.b.c", "a.b.d"]),
        ("def f():\n    from a import b", ["a.b"]),
        ("if TYPE_CHECKING:\n    import a", ["a"]),
    ],
)
def test_every_import_is_seen(text, names):
    assert list(imported(ast.parse(text))) == names


def test_the_arrows_lead_down_only():
    assert all(room not in below(others) for room, others in ARROWS.items())
    rooms = {room_of(module) for module in SOURCES} - FOUNDATIONS
    assert rooms == below(set(ARROWS))
