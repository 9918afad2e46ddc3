"""The pages say what the project has: links, flags, public names, and the README's Python."""

import ast
import contextlib
import inspect
import io
import pathlib
import re

import pytest
import tiny

import al_jax
from al_jax.commands import annotate, command, config_flags, simulate, stack_flags
from al_jax.core.settings import leaves
from experiments import pretrain, report, sweep, synthesise
from experiments.bench import (
    benchmark,
    learning,
    lengths,
    outlines,
    practice,
    real_stacks,
    scale,
    window_latency,
)

ROOT = pathlib.Path(__file__).parents[1]
PAGES = (
    "README.md",
    "al_jax/README.md",
    "al_jax/files/README.md",
    "al_jax/window/README.md",
    "experiments/README.md",
    "experiments/results/README.md",
    "experiments/results/history.md",
)
TEXT = {page: (ROOT / page).read_text() for page in PAGES}
LIBRARY = TEXT["al_jax/README.md"]
COMMANDS = (
    annotate,
    benchmark,
    command,
    config_flags,
    learning,
    lengths,
    outlines,
    practice,
    pretrain,
    real_stacks,
    report,
    scale,
    simulate,
    stack_flags,
    sweep,
    synthesise,
    window_latency,
)
OTHERS_FLAGS = {
    "help",
    "xla_gpu_deterministic_ops",
    "xla_cpu_experimental_ynn_fusion_type",
}


def python_of(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", TEXT[page], re.DOTALL)


def anchors(page: pathlib.Path) -> set[str]:
    """What GitHub makes of the headings of a page."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def table_of_functions() -> str:
    return LIBRARY[LIBRARY.index("| function | paper |") :].split("\n\n")[0]


def needed(name: str) -> str:
    """The arguments of a function that have no default, as the table writes them."""
    written, by_name = [], False
    for parameter in inspect.signature(getattr(al_jax, name)).parameters.values():
        if parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not by_name:
            written.append("*")
            by_name = True
        written.append(parameter.name)
    return ", ".join(written)


def test_the_readme_is_read_in_five_minutes():
    assert len((ROOT / "README.md").read_bytes()) <= 8_192
    assert max(len(section.splitlines()) for section in python_of("README.md")) <= 36


@pytest.mark.parametrize("small", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_python_runs(small, monkeypatch):
    """As it stands; or, as compiling is most of the time, with a network that compiles at once."""
    _, section = python_of("README.md")
    if small:
        plain = {"crop": 32, "batch": 4, "augmentation": tiny.still}
        quick = al_jax.Training(initial_steps=20, query_steps=2, **plain)
        config = al_jax.Config(network=tiny.Pixelwise, training=quick)
        monkeypatch.setattr(al_jax, "Config", lambda: config)
    assert set(re.findall(r"\bal_jax\.(\w+)", section)) <= set(al_jax.__all__)
    space: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(section, space)
    images, state = space["images"], space["state"]
    assert space["segmentation"].shape == images.images.shape[:3]
    # An outline of every structure is known, and the network has learnt from answers.
    assert bool(state.seen.any(0).all()) and int(state.step) == images.num_classes + 5
    assert space["trained"] and float(space["learner"].trials[2].sum()) > 0
    labelled = state.labels >= 0
    assert bool((space["segmentation"] == state.labels)[labelled].all())
    lines = said.getvalue().splitlines()
    assert len(lines) == 3
    for line in lines:
        found = re.match(r"'(\w+)' on section (\d+): (?:expected Dice [01]\.|no Dice)", line)
        name, section = found.groups()
        assert not state.annotated[int(section), images.names.index(name)]


@pytest.mark.parametrize("page", PAGES)
def test_other_python_is_python(page):
    for section in python_of(page):
        ast.parse(section)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXT[page]):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES)
def test_paths_of_the_project_exist(page):
    named = re.findall(r"\b(?:al_jax|experiments|tests)/[\w/]+\.\w+", TEXT[page])
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_every_flag_exists(page):
    known = {field.name for field, _ in leaves(al_jax.Config())} | {
        node.args[0].value
        for module in COMMANDS
        for node in ast.walk(ast.parse(pathlib.Path(module.__file__).read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "").startswith("DEFINE_")
        if isinstance(node.args[0], ast.Constant)
    }
    flags = set(re.findall(r"--(?:no(?=deform))?([a-z_]+)", TEXT[page]))
    assert flags <= known | OTHERS_FLAGS


def test_every_public_name_has_its_line():
    table = table_of_functions()
    named = re.findall(r"`(\w+)(?:\(.*?\))?`", table)
    assert sorted(named) == sorted(al_jax.__all__)


def test_functions_are_called_as_the_table_says():
    calls = re.findall(r"`(\w+)\((.*?)\)`", table_of_functions())
    functions = {name for name in al_jax.__all__ if inspect.isfunction(getattr(al_jax, name))}
    assert {name for name, _ in calls} == functions
    assert {name: given for name, given in calls} == {name: needed(name) for name in functions}


def test_every_equation_has_its_line():
    equations = {
        int(number)
        for some in re.findall(r"Eqs?\. ([\d, and]+)", table_of_functions())
        for number in re.findall(r"\d+", some)
    }
    assert equations == set(range(1, 10))


def test_every_folder_has_its_line():
    table = LIBRARY[LIBRARY.index("| folders | what they are |") :].split("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    named = [name for cell in cells for name in re.findall(r"`(\w+)/?`", cell)]
    there = {path.stem for path in (ROOT / "al_jax").glob("*.py")} | {
        path.parent.name for path in (ROOT / "al_jax").glob("*/__init__.py")
    }
    assert sorted(named) == sorted(there - {"__init__", "__main__"})
