"""The benchmark counts and reports what it says; how fast anything is, is not tested."""

import json

import jax
import numpy as np
import pytest
import tiny
from absl import flags

from al_jax import simulation
from al_jax.simulation import Config
from al_jax.stack import InputError
from al_jax.training import Training
from experiments import benchmark


@pytest.fixture
def _settings(monkeypatch):
    """Flags of the benchmark's own, parsed; the compilation cache's switch as it was."""
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    monkeypatch.setattr(benchmark, "FLAGS", values)
    for name in ("enum", "integer", "string"):
        define = getattr(flags, f"DEFINE_{name}")
        monkeypatch.setattr(
            flags, f"DEFINE_{name}", lambda *a, d=define, **k: d(*a, flag_values=values, **k)
        )
    benchmark.define_flags()
    monkeypatch.setattr(simulation, "make_network", lambda _, classes: tiny.Pixelwise(classes))
    before = jax.config.jax_enable_compilation_cache
    yield values
    jax.config.update("jax_enable_compilation_cache", before)


def test_made_up_stack():
    stack = benchmark.made_up_stack(3, 32, 5)
    assert stack.images.shape == (3, 32, 32, 1) and stack.num_classes == 5
    for truth in stack.truth:
        assert set(np.unique(truth)) == set(range(5))
    with pytest.raises(InputError, match="--classes 40 do not fit --size 32"):
        benchmark.made_up_stack(3, 32, 40)


def test_spread():
    assert benchmark.spread([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "min": 1.0, "max": 10.0}


def test_counts_and_report(_settings, monkeypatch, capsys, tmp_path):
    # The timings are made up, the programs that they would time are run.
    file = tmp_path / "line.json"
    _settings(["benchmark", "--sections=5", "--size=36", "--classes=4", "--crop=16", "--batch=2",
               "--repeats=3", f"--json={file}"])  # fmt: skip
    calls = []

    def timed(function, *args):
        result = jax.block_until_ready(function(*args))
        calls.append(jax.tree.leaves(result)[-1].shape)
        return {0: 6.0, 1: 3.0, 2: 10.0, 3: 8.0}[len(calls) % 4]

    monkeypatch.setattr(benchmark, "timed", timed)
    benchmark.main()
    table, line = capsys.readouterr().out.rsplit("\n", 2)[:2]
    found = json.loads(line)
    assert json.loads(file.read_text()) == found
    assert found["setting"] == {
        "network": "small", "crop": 16, "batch": 2, "sections": 5, "size": 36, "classes": 4,
    }  # fmt: skip
    # Three steps an epoch, so four epochs are twelve steps; the warm-up is not counted.
    assert found["counts"] == {"steps": 12, "queries": 2, "repeats": 3}
    assert len(calls) == 4 * 4
    assert set(found["compile_s"]) == {
        "initial weights", "step", "steps in scan", "prediction", "query",
    }  # fmt: skip
    assert all(seconds > 0 for seconds in found["compile_s"].values())
    for name in benchmark.ROWS:
        assert found[name]["min"] <= found[name]["median"] <= found[name]["max"], name
        assert benchmark.ROWS[name] in table
    assert found["machine"]["cores"] >= 1 and found["machine"]["device"]
    assert found["versions"]["jax"] == jax.__version__ and found["date"][:2] == "20"
    assert not jax.config.jax_enable_compilation_cache


def test_pairs_and_counts(monkeypatch):
    # A clock on which a step takes 1 s outside and 2 s inside the scan, a section 3 s, a query 4 s;
    # the machine gets ten times slower on the way.
    monkeypatch.setattr(simulation, "make_network", lambda _, classes: tiny.Pixelwise(classes))
    asked = []

    def timed(function, *args):
        if len(args) == 6:
            kind, seconds = "step", 12 * 1
        elif len(args) == 5:
            kind, seconds = "scan", 12 * 2
        elif len(args) == 4:
            kind, seconds = "section", 5 * 3
        else:
            kind, seconds = "query", 2 * 4
        drift = 10 if len(asked) >= 12 else 1
        asked.append(kind)
        return drift * seconds

    monkeypatch.setattr(benchmark, "timed", timed)
    stack = benchmark.made_up_stack(5, 36, 4)
    found = benchmark.measure(Config(training=Training(crop=16, batch=2)), stack, 4)
    assert found["ratio"] == {"median": 2.0, "min": 2.0, "max": 2.0}
    for name, per_one in (
        ("step_ms", 1), ("step_in_scan_ms", 2), ("predict_section_ms", 3), ("query_ms", 4)
    ):  # fmt: skip
        row = found[name]
        assert (row["min"], row["max"]) == (1000 * per_one, 10000 * per_one)
    order = [kind for kind in asked if kind in ("step", "scan")]
    assert order == ["scan", "step", "step", "scan"] * 2 + ["scan", "step"]
