"""The house plan holds: rooms import downwards only, nothing turns in a circle, and no product code imports a test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {"t2i_judge": "metrics", "recipes": ".", "model_card": ".", "dataset_card": ".", "space": "."}
# A room imports the library and rooms of the layers above its own line here; cards import the library alone.
LAYERS = (
    ("library",),
    ("recipe", "hub", "loopback"),
    ("scenes", "distillation"),
    ("training", "benchmarks", "evaluation", "safety"),
    ("model_card", "dataset_card"),
    ("publish",),
    ("commands", "performance", "tiny", "space"),
)
EXCEPTIONS = {
    ("hub", "recipe"): "a recipe's name, base and data make the names of its repositories",
    ("dataset_card", "model_card"): "one rendering of cards for both",
}
CARDS = ("model_card", "dataset_card")


def modules() -> dict[str, Path]:
    """Name -> file of every module of the product. The Space's own are flat, as they run: `space.app`."""
    found = {}
    for top, base in SOURCES.items():
        for path in (ROOT / base / top).rglob("*.py"):
            if not path.is_relative_to(ROOT / "space" / "scenes"):  # a link to recipes/scenes
                name = ".".join(path.relative_to(ROOT / base).with_suffix("").parts)
                found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imported(name: str) -> Iterator[str]:
    """Everything that a module imports, wherever in its text, by absolute name."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def ours(name: str) -> Iterator[str]:
    """The product's modules among a module's imports."""
    for target in imported(name):
        if name.startswith("space."):
            target = f"recipes.{target}" if target.split(".")[0] == "scenes" else target
            target = f"space.{target}" if f"space.{target.split('.')[0]}" in MODULES else target
        while target and target not in MODULES:
            target = target.rpartition(".")[0]
        if target and target != name:
            yield target


GRAPH = {name: set(ours(name)) for name in MODULES}


def room(module: str) -> str:
    """The room of the plan that a module stands in."""
    top, *rest = module.split(".")
    if top == "t2i_judge":
        return "library"
    if top == "recipes":
        return rest[0] if rest and (ROOT / "recipes" / rest[0]).is_dir() else "commands"
    return top


def folder(module: str) -> str:
    """The folder that a module stands in; modules at the top of the library and commands stand for themselves."""
    path = MODULES[module]
    inside = path.parent if path.parent not in (ROOT / "metrics" / "t2i_judge", ROOT / "recipes") else path
    return str(inside.relative_to(ROOT))


def test_rooms_import_downwards_only():
    height = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    assert {room(module) for module in MODULES} <= height.keys(), "a room without a place in the plan"
    wrong = [
        f"{module} imports {target}"
        for module, targets in GRAPH.items()
        for target in sorted(targets)
        if (a := room(module)) != (b := room(target))
        and (height[b] >= height[a] or (a in CARDS and b != "library"))
        and (a, b) not in EXCEPTIONS
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", ["modules", "folders"])
def test_nothing_turns_in_a_circle(kind):
    graph = GRAPH
    if kind == "folders":
        graph = {}
        for module, targets in GRAPH.items():
            graph.setdefault(folder(module), set()).update(folder(t) for t in targets if folder(t) != folder(module))
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_no_product_code_imports_a_test():
    assert not [(name, target) for name in MODULES for target in imported(name) if target.split(".")[0] == "tests"]


def test_the_library_imports_itself_relatively_and_nothing_else_of_ours():
    library = [name for name in MODULES if room(name) == "library"]
    for name in library:
        tops = {node.module.split(".")[0] for node in ast.walk(ast.parse(MODULES[name].read_text()))
                if isinstance(node, ast.ImportFrom) and not node.level and node.module}  # fmt: skip
        assert not tops & SOURCES.keys(), name
    assert {room(target) for name in library for target in GRAPH[name]} == {"library"}


def test_every_exception_is_needed():
    """A line that nobody needs any more goes."""
    used = {(room(module), room(target)) for module, targets in GRAPH.items() for target in targets}
    assert EXCEPTIONS.keys() <= used
