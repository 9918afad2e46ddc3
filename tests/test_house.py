"""What holds of the house as a whole: who may import whom, how long calls are, what names mean."""

import ast
import importlib
import importlib.util
import inspect
import pathlib
import pkgutil
import subprocess

import pytest

import al_jax

ROOT = pathlib.Path(al_jax.__file__).parent
# From the bottom up: a folder imports from rows above its own alone, and folders of one row do not
# know each other.
ROWS = (
    ("xla",),
    ("core",),
    ("files", "model"),
    ("learner",),
    ("session", "simulation"),
    ("exchange", "plotting"),
    ("window",),
    ("commands",),
)
RANK = {folder: row for row, folders in enumerate(ROWS) for folder in folders}
# All others read no labels of a whole stack.
KNOW_THE_TRUTH = {"core/stack", "files", "simulation", "plotting/figures", "commands"}
KNOW_THE_TRUTH |= {"learner/pretraining"}  # of stacks that were annotated before
TOP = {".ci", ".gitignore", "CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "al_jax"}
TOP |= {"experiments", "pyproject.toml", "requirements-cuda.txt", "tests"}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


def _folder(path: pathlib.Path) -> str:
    return path.relative_to(ROOT).parts[0]


def _imports(path: pathlib.Path) -> set[str]:
    """The folders of al_jax that a file imports from, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "al_jax":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("al_jax."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("al_jax.")}
    return found - {_folder(path)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = RANK[_folder(path)]
    upward = {name for name in _imports(path) if RANK[name] >= own}
    assert not upward, f"{_folder(path)} imports {upward}"


def test_nobody_imports_the_experiments():
    assert not [path for path in FILES if "import experiments" in path.read_text()]
    assert not [path for path in FILES if "from experiments" in path.read_text()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_truth_is_known_to_few(path):
    name = str(path.relative_to(ROOT)).removesuffix(".py")
    if _folder(path) in KNOW_THE_TRUTH or name in KNOW_THE_TRUTH:
        return
    tree = ast.parse(path.read_text())
    reads = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert not [node.lineno for node in reads if node.attr == "truth"]


def test_only_the_window_needs_a_window():
    for path in FILES:
        text = path.read_text()
        used = [name for name in ("napari", "qtpy", "PySide6") if f"import {name}" in text]
        used += [name for name in ("napari", "qtpy", "PySide6") if f"from {name}" in text]
        assert not used or _folder(path) == "window", path


def _functions():
    names = [name for _, name, _ in pkgutil.walk_packages([str(ROOT)], "al_jax.")]
    if importlib.util.find_spec("napari") is None:
        names = [name for name in names if not name.startswith("al_jax.window.")]
    for module in map(importlib.import_module, names):
        for owner in [module, *(c for _, c in inspect.getmembers(module, inspect.isclass))]:
            for name, function in inspect.getmembers(owner, inspect.isfunction):
                if function.__module__ == module.__name__:
                    yield f"{module.__name__}.{name}", function


def test_no_call_is_long():
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    many = {}
    for name, function in _functions():
        positional = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
        # The fields of a dataclass are given by name.
        if len(positional) > 7 and not name.endswith((".__init__", ".__new__")):
            many[name] = len(positional)
    assert not many


def _hides_a_bundle(argument: ast.arg) -> bool:
    annotation = argument.annotation
    if not isinstance(annotation, ast.Subscript) or ast.unparse(annotation.value) != "tuple":
        return False
    kinds = {ast.unparse(kind) for kind in getattr(annotation.slice, "elts", [])}
    return len(kinds - {"..."}) > 2


def test_no_bundle_is_a_tuple():
    """Three things of different kinds in one parameter want a name each."""
    hidden = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                hidden += [f"{path}: {node.name}" for a in arguments if _hides_a_bundle(a)]
    assert not hidden


def test_no_public_name_hides_a_module():
    modules = {name.removesuffix(".py") for name in (p.name for p in ROOT.iterdir())}
    assert not modules & set(al_jax.__all__)
    assert sorted(set(al_jax.__all__)) == sorted(al_jax.__all__)
    for name in al_jax.__all__:
        assert getattr(al_jax, name) is not None


def test_no_suggestion_takes_a_name_that_is_a_function():
    for function in (al_jax.suggest, al_jax.suggestions, al_jax.make_evidence):
        module = importlib.import_module(function.__module__)
        for parameter in inspect.signature(function).parameters:
            assert not callable(getattr(module, parameter, None)), parameter


def test_nothing_is_left_lying_at_the_top():
    if not (ROOT.parent / ".git").exists():
        pytest.skip("not a clone")
    command = ["git", "-C", ROOT.parent, "ls-files"]
    tracked = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert {line.split("/")[0] for line in tracked.splitlines()} == TOP
