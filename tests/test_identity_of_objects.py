"""What an object is called by: its source, and what it uses of its own file."""

import dataclasses
import functools
import importlib
import importlib.util
import linecache
import os
import pathlib
import subprocess
import sys
import types

import flax.linen as nn
import jax
import numpy as np
import pytest
import tiny

from al_jax.core import scores
from al_jax.core.identity import source_digest
from al_jax.core.strategies import BDa, Strategy
from al_jax.model.augmentation import Table1
from al_jax.model.networks import FCN

MODULE = '''
import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from al_jax.core.strategies import BDa

WEIGHT = 2.0
NAMES = {"a", "b", "c", "d"}
TABLE = np.arange(5000)


def helper(x):
    """Doubles."""
    return 2 * x


halved = functools.partial(helper, 1)


def gain(evidence):
    """Of every pair."""
    # The helper is in this file.
    return helper(1 - evidence.dice) * WEIGHT


def tabled(evidence, *, weight=WEIGHT):
    return evidence.dice * TABLE[0] * len(NAMES) * weight


def bound(evidence):
    return halved


def closed(power):
    def gain(evidence):
        return evidence.dice**power

    return gain


def scaled(function):
    @functools.wraps(function)
    def wrapper(evidence):
        return 3 * function(evidence)

    return wrapper


@scaled
def decorated(evidence):
    return evidence.dice


quick = jax.jit(gain)
square, cube = lambda e: e.dice**2, lambda e: e.dice**3
STRATEGY = dataclasses.replace(BDa, gain=gain)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(8)(x))


class Base(nn.Module):
    def scale(self):
        return 5


class Network(Base):
    num_classes: int
    width: int = 8

    @nn.compact
    def __call__(self, x, key=None):
        return nn.Dense(self.num_classes)(Block()(x)) * self.size * self.offset()

    @property
    def size(self):
        return sized(1)

    @staticmethod
    def offset():
        return shifted(1)


def sized(x):
    return x + 6


def shifted(x):
    return x + 9
'''
THINGS = ("gain", "tabled", "bound", "decorated", "quick", "square", "STRATEGY", "Network")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Loads the module with a text of it replaced by another, anew each time."""

    def load(old: str = "", new: str = "") -> types.ModuleType:
        assert old in MODULE
        path = tmp_path / f"plugin{len(list(tmp_path.glob('*.py')))}.py"
        path.write_text(MODULE.replace(old, new, 1) if old else MODULE)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("name", THINGS)
def test_two_loads_of_a_file_agree(load, name):
    one, other = getattr(load(), name), getattr(load(), name)
    assert one is not other and source_digest(one) == source_digest(other)
    assert len(source_digest(one)) == 16 and int(source_digest(one), 16) >= 0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    # The helper is in this file.\n", "    # It is.\n\n"),
        ('    """Of every pair."""\n', ""),
        ('"""Doubles."""', '"""Two times."""'),
        ("helper(1 - evidence.dice) * WEIGHT", "helper( 1 - evidence.dice )*WEIGHT"),
        ("x + 9", "x + 10"),  # which it does not use
    ],
    ids=["comment", "docstring", "docstring of a helper", "layout", "another function"],
)
def test_what_says_nothing_changes_nothing(load, old, new):
    assert source_digest(load(old, new).gain) == source_digest(load().gain)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("gain", "helper(1 - evidence.dice)", "helper(2 - evidence.dice)"),
        ("gain", "return 2 * x", "return 3 * x"),
        ("gain", "WEIGHT = 2.0", "WEIGHT = 2.5"),
        ("quick", "return 2 * x", "return 3 * x"),
        ("tabled", "WEIGHT = 2.0", "WEIGHT = 2.5"),
        ("tabled", "np.arange(5000)", "np.arange(5000) + (np.arange(5000) == 2500)"),
        ("tabled", '"d"}', '"e"}'),
        ("bound", "(helper, 1)", "(helper, 2)"),
        ("decorated", "3 * function", "4 * function"),
        ("decorated", "return evidence.dice\n", "return 1 - evidence.dice\n"),
        ("square", "e.dice**2", "e.dice**4"),
        ("STRATEGY", "helper(1 - evidence.dice)", "helper(2 - evidence.dice)"),
        ("Network", "nn.relu(", "nn.gelu("),
        ("Network", "return 5", "return 6"),
        ("Network", "x + 6", "x + 7"),
        ("Network", "x + 9", "x + 10"),
        ("Network", "width: int = 8", "width: int = 16"),
    ],
)
def test_an_edit_makes_it_another(load, name, old, new):
    assert source_digest(getattr(load(old, new), name)) != source_digest(getattr(load(), name))


def test_what_is_closed_over_counts(load):
    closed = load().closed
    assert source_digest(closed(2)) != source_digest(closed(3))
    assert source_digest(closed(2)) == source_digest(closed(2))
    one, other = (np.arange(5000) == n for n in (2500, 2501))
    assert source_digest(closed(one)) != source_digest(closed(other))
    assert source_digest(closed(one)) == source_digest(closed(one.copy()))


def test_two_lambdas_of_a_line_are_two(load):
    module = load()
    assert source_digest(module.square) != source_digest(module.cube)


def test_instances_are_their_class_and_their_fields():
    digests = {
        source_digest(thing)
        for thing in (
            Table1(),
            Table1(rotation=20.0),
            Table1(translation=20.0),
            Table1(rotation=20.0, translation=20.0),
            FCN(4),
            FCN(4, width=0.5),
            FCN(5),
            FCN,
            tiny.Pixelwise,
            functools.partial(FCN, width=0.5),
            functools.partial(FCN, width=0.25),
            functools.partial(scores.distance_to_seen, 1, 1),
            functools.partial(scores.distance_to_seen, 1),
            BDa,
            dataclasses.replace(BDa, gain=scores.rise),
            dataclasses.replace(BDa, dropout=True),
            Strategy(scores.rise, scores.room),
        )
    }
    assert len(digests) == 17
    # Equal values need not be the same object.
    assert source_digest(Table1(rotation=float("10"))) == source_digest(Table1())
    assert source_digest(functools.partial(FCN, width=float("0.5"))) in digests


def test_without_source_it_is_what_it_does():
    def made(text):
        space = {"WEIGHT": 3.0}
        exec(text, space)
        return space["gain"]

    one = made("def gain(e):\n    return 2 * e")
    assert source_digest(one) == source_digest(made("def gain(e):\n    # Twice.\n    return 2 * e"))
    assert source_digest(one) != source_digest(made("def gain(e):\n    return 3 * e"))
    assert source_digest(eval("lambda e: 2 * e")) != source_digest(eval("lambda e: 3 * e"))
    network = "class gain:\n    def __call__(self, x):\n        return {} * x"
    assert source_digest(made(network.format(1))) != source_digest(made(network.format(2)))
    assert source_digest(jax.numpy.tanh) != source_digest(jax.numpy.sin)


def test_it_is_the_same_in_every_process(load, tmp_path):
    module = load()
    network = nn.Dense(3)
    here = [source_digest(getattr(module, name)) for name in THINGS]
    here += [source_digest(thing) for thing in (BDa, Table1(), FCN, FCN(3), network)]
    here += [source_digest(eval("lambda e: e in {'a', 'b', 'c', 'd'}"))]
    script = f"""
import sys
sys.path.insert(0, {str(pathlib.Path(module.__file__).parent)!r})
import flax.linen as nn
import plugin0 as plugin
from al_jax.core.identity import source_digest
from al_jax.core.strategies import BDa
from al_jax.model.augmentation import Table1
from al_jax.model.networks import FCN
things = [getattr(plugin, name) for name in {THINGS!r}] + [BDa, Table1(), FCN, FCN(3), nn.Dense(3)]
things += [eval("lambda e: e in {{'a', 'b', 'c', 'd'}}")]
print(*map(source_digest, things))
"""
    for seed in ("random", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"}
        found = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert found.stdout.split() == here


def test_a_helper_in_another_file_of_ones_own_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "gains.py").write_text(
        "import helpers_of_mine\n\n\ndef gain(x):\n    return helpers_of_mine.scale(x)\n"
    )
    helper, digests = tmp_path / "helpers_of_mine.py", []
    for body in ("return 2 * x", "return 3 * x"):
        helper.write_text(f"def scale(x):\n    {body}\n")
        for name in ("gains", "helpers_of_mine"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        linecache.clearcache()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        digests.append(source_digest(importlib.import_module("gains").gain))
    assert digests[0] != digests[1]
