"""What a researcher adds: short files that the commands load, each by its own source."""

import dataclasses
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from commands import caller, flags_of

from al_jax.commands import plugins, simulate
from al_jax.commands.plugins import load_plugins
from al_jax.commands.runs import about_strategy
from al_jax.core.evidence import make_evidence
from al_jax.core.identity import source_digest
from al_jax.core.stack import InputError
from al_jax.core.state import init_state
from al_jax.core.strategies import STRATEGIES
from al_jax.files.stacks import write_stack
from al_jax.model.augmentation import AUGMENTATIONS
from al_jax.model.networks import NETWORKS
from experiments import sweep
from experiments.sweeps import clusters, units

EXAMPLES = pathlib.Path(__file__).parents[1] / "experiments" / "plugins"
FILES = sorted(path for path in EXAMPLES.glob("*.py") if path.stem != "__init__")
RUN = (
    "--stack=a.npz",
    "--crop=32",
    "--initial_steps=4",
    "--query_steps=2",
    "--target_dice=1",
    "--max_effort=0.6",
)
PIXELWISE = "--network=pixelwise"
USES = {
    "margin,focal": (("margin", "BDa_focal"), "pixelwise"),  # the shortest is run below
    "clasp,whole_sections": (("clasp", "sections"), "pixelwise"),
    "unet": (("BDa",), "unet"),
}


@pytest.fixture(autouse=True)
def _what_they_add_goes_with_the_test() -> Iterator[None]:
    tables = (STRATEGIES, NETWORKS, AUGMENTATIONS, plugins._loaded)
    before, modules = [dict(table) for table in tables], set(sys.modules)
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)
    for name in {path.stem for path in FILES} | {"mine"}:
        if name not in modules:
            sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> pathlib.Path:
    """The working directory, with a stack in it."""
    monkeypatch.chdir(tmp_path)
    write_stack("a.npz", tiny.stack())
    return tmp_path


@pytest.fixture
def call(folder, monkeypatch, capsys) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """`experiments.simulate` in this process."""
    with flags_of(simulate):
        yield caller(simulate, monkeypatch, capsys)


def mine(folder: pathlib.Path) -> pathlib.Path:
    """A plugin of one's own: a copy of an example."""
    copy = folder / "mine.py"
    copy.write_text((EXAMPLES / "shortest.py").read_text())
    return copy


def edit(path: pathlib.Path) -> None:
    """Another gain; the file is as long as before."""
    text = path.read_text()
    assert "(1 - evidence.dice)" in text
    path.write_text(text.replace("(1 - evidence.dice)", "(2 - evidence.dice)"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_is_short_and_loads(path):
    assert len(path.read_text().splitlines()) <= 30
    load_plugins([str(path)])
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    assert plugins.digests([str(path), "json"])[path.name] == content[:16]


def test_the_adapted_clasp_takes_classes_in_turn_and_less_noise_later():
    load_plugins([str(EXAMPLES / "clasp.py")])
    clasp = STRATEGIES["clasp"]
    state = init_state(jax.random.key(0), jnp.ones((4, 8, 8), bool), jnp.ones((4, 3), bool))
    entropy = jnp.array([[0.1, 0.9, 0.2], [0.3, 0.8, 0.4], [0.2, 0.7, 0.1], [0.1, 0.6, 0.3]])
    evidence = make_evidence(state, uncertainty=entropy, priority=jnp.ones((4, 3)))

    def asked(seen: list[tuple[int, int]], noise: jax.Array | None = None) -> tuple[int, int]:
        marked = evidence.seen.at[tuple(np.transpose(seen))].set(True) if seen else evidence.seen
        seen_now = evidence.replace(seen=marked)
        if noise is not None:
            seen_now = seen_now.replace(priority=noise)
        score = jnp.where(marked, -jnp.inf, clasp.gain(seen_now) / clasp.cost(seen_now))
        return tuple(int(k) for k in jnp.unravel_index(score.argmax(), score.shape))

    # The highest entropy; then of the structures without an answer; the third answer to any.
    assert asked([]) == (0, 1)
    assert asked([(0, 1)]) == (1, 2)
    assert asked([(0, 1), (1, 2)]) == (1, 1)
    assert asked([(0, 1), (1, 2), (1, 1)]) == (1, 0)
    # Noise decides between near entropies at the start, and no longer at the end.
    loud = jnp.ones((4, 3)).at[3, 1].set(50.0)
    assert asked([], loud) == (3, 1)
    late = [(n, c) for n in range(4) for c in (0, 2)]
    assert asked([*late, (1, 1)], loud) == (0, 1)


def test_whole_sections_are_asked_one_after_another_and_their_background_last():
    load_plugins([str(EXAMPLES / "whole_sections.py")])
    sections = STRATEGIES["sections"]
    assert sections.neighbours
    priority = np.asarray(sections.draw(jax.random.key(0), 5, 4))
    assert (priority[:, 0] == priority.min(1)).all()
    order = priority.max(1).argsort()[::-1]
    assert (priority.min(1)[order[:-1]] > priority.max(1)[order[1:]]).all()


@pytest.mark.parametrize("names", [pytest.param(name, marks=pytest.mark.slow) for name in USES])
def test_examples_run(call, folder, names):
    strategies, network = USES[names]
    files = ",".join(f"{EXAMPLES / name}.py" for name in names.split(","))
    chosen = (f"--strategies={','.join(strategies)}", f"--network={network}")
    status, _, err = call(f"--plugin={files}", *chosen, *RUN, "--workdir=out")
    assert status == 0, err
    result = json.loads((folder / "out" / "result.json").read_text())
    assert tuple(result["summary"]) == strategies
    for summary in result["summary"].values():
        assert summary["queries"] > 1 and 0 < summary["final_dice"] <= 100
    described = result["configuration"]
    assert (tuple(described["strategies"]), described["network"]) == (strategies, network)
    assert len(described["network_digest"]) == 16  # as of any that is not al_jax's own


@pytest.mark.slow
def test_an_edited_plugin_is_another_run(call, folder):
    path = mine(folder)
    command = (f"--plugin={path}", "--strategies=short", PIXELWISE, *RUN, "--workdir=out")
    status, _, err = call(*command)
    assert status == 0, err
    before = (folder / "out" / "queries.csv").read_bytes()
    edit(path)
    status, out, err = call(*command)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("error: out: holds another run (strategy_digests was short ")
    assert err.endswith("choose another --workdir\n")
    assert (folder / "out" / "queries.csv").read_bytes() == before


def test_an_edit_counts_at_once(folder):
    """Also one of the same length within the same second, of which no bytecode may be kept."""
    path = mine(folder)
    load_plugins([str(path)])
    first = STRATEGIES["short"]
    load_plugins([str(path)])
    assert STRATEGIES["short"] is first
    stamp = path.stat()
    edit(path)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    load_plugins([str(path)])
    assert STRATEGIES["short"].gain.__code__.co_consts != first.gain.__code__.co_consts


@pytest.mark.parametrize(
    "text, reason",
    [
        (None, "FileNotFoundError: "),
        ("import nothing_of_that_name", "ModuleNotFoundError: "),
        ("1 +", "SyntaxError: "),
    ],
)
def test_one_that_fails_is_named(folder, text, reason):
    if text is not None:
        (folder / "mine.py").write_text(text)
    with pytest.raises(InputError, match=f"--plugin=mine.py: cannot be loaded \\({reason}"):
        load_plugins(["mine.py"])
    with pytest.raises(InputError, match="--plugin=nobodys: cannot be loaded"):
        load_plugins(["nobodys"])


@pytest.mark.slow
def test_a_sweep_takes_plugins_to_its_workers(folder, monkeypatch, capsys):
    """An edited one is another run, and the old one is kept."""
    core = min(os.sched_getaffinity(0))
    place = clusters.Place(frozenset({core}), {})
    monkeypatch.setattr(clusters, "find_places", lambda _: [place])
    path = mine(folder)
    arguments = ("--plugin=mine.py,pixelwise", PIXELWISE, "--strategies=short", *RUN)
    command = (*arguments, "--workdir=out")

    def results() -> dict[pathlib.Path, bytes]:
        return {place: place.read_bytes() for place in folder.glob("out/runs/*/result.json")}

    with flags_of(sweep):
        start = caller(sweep, monkeypatch, capsys)
        said = [start(*command), start(*command)]
        first = results()
        edit(path)
        said.append(start(*command))
    lines = [out.split("; ")[0].removeprefix("out: 1 runs: ") for _, out, _ in said]
    ran, there = "1 ran, 0 were there, 0 failed", "0 ran, 1 were there, 0 failed"
    assert lines == [ran, there, ran], said
    both = results()
    assert (len(first), len(both)) == (1, 2) and first.items() <= both.items()
    found = [json.loads(content) for content in both.values()]
    assert len({one["configuration"]["strategy_digest"] for one in found}) == 2
    assert all(f"--plugin={path},pixelwise " in one["command"] + " " for one in found)


def test_a_name_of_al_jax_is_not_taken(folder):
    (folder / "mine.py").write_text(
        'import al_jax\nal_jax.STRATEGIES["BDa"] = al_jax.STRATEGIES["Da"]\n'
    )
    before = STRATEGIES["BDa"]
    with pytest.raises(InputError, match="'BDa' is a name of al_jax; take another one"):
        load_plugins(["mine.py"])
    assert STRATEGIES["BDa"] is before


def test_an_edit_is_loaded_wherever_the_file_is_named_from(folder):
    mine(folder)
    load_plugins(["mine.py"])
    before = STRATEGIES["short"]
    (folder / "mine.py").write_text((folder / "mine.py").read_text() + "\nMORE = 1\n")
    load_plugins([str(folder / "mine.py")])
    assert STRATEGIES["short"] is not before


def test_a_plugin_that_changes_under_a_sweep_is_refused(folder):
    mine(folder)
    load_plugins(["mine.py"])
    configuration = about_strategy("short") | {
        "loss_digest": source_digest(STRATEGIES["short"].loss)
    }
    unit = units.NetworkUnit("folder", configuration, "a.npz", None, "short")
    units.check_sources(unit)
    with pytest.raises(InputError, match="its strategy has changed since the sweep began"):
        units.check_sources(dataclasses.replace(unit, configuration={"strategy_digest": "0"}))
    with pytest.raises(InputError, match="its loss has changed since the sweep began"):
        units.check_sources(dataclasses.replace(unit, configuration={"loss_digest": "0"}))
