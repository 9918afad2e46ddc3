"""The benchmark counts and reports what it says; how fast anything is, is not tested."""

import json

import jax
import numpy as np
import pytest
import tiny
from absl import flags

from al_jax import simulation
from al_jax.stack import InputError
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
    # A clock on which a step takes 1 s outside and 2 s inside the scan, a section 3 s, a query 4 s;
    # the machine gets ten times slower on the way. What would be timed is run all the same.
    file = tmp_path / "line.json"
    _settings(["benchmark", "--sections=5", "--size=36", "--classes=4", "--crop=16", "--batch=2",
               "--repeats=4", f"--json={file}"])  # fmt: skip
    kinds = {6: ("step", 12 * 1), 5: ("scan", 12 * 2), 4: ("section", 5 * 3), 3: ("query", 2 * 4)}
    asked = []

    def timed(function, *args):
        jax.block_until_ready(function(*args))
        kind, seconds = kinds[len(args)]
        asked.append(kind)
        return seconds * (10 if len(asked) > 12 else 1)

    monkeypatch.setattr(benchmark, "timed", timed)
    benchmark.main()
    table, line = capsys.readouterr().out.rsplit("\n", 2)[:2]
    found = json.loads(line)
    assert json.loads(file.read_text()) == found
    assert found["setting"] == {
        "network": "small", "crop": 16, "batch": 2, "sections": 5, "size": 36, "classes": 4,
    }  # fmt: skip
    # Three steps an epoch, so four epochs are twelve steps; the warm-up is not counted.
    assert found["counts"] == {"steps": 12, "queries": 2, "repeats": 4}
    order = [kind for kind in asked if kind in ("step", "scan")]
    assert order == ["scan", "step", "step", "scan"] * 2 + ["scan", "step"]
    assert found["ratio"] == {"median": 2.0, "min": 2.0, "max": 2.0}
    for name, per_one in (
        ("step_ms", 1), ("step_in_scan_ms", 2), ("predict_section_ms", 3), ("query_ms", 4)
    ):  # fmt: skip
        row = found[name]
        assert (row["min"], row["max"]) == (1000 * per_one, 10000 * per_one)
    for title in benchmark.ROWS.values():
        assert title in table
    assert set(found["compile_s"]) == {
        "initial weights", "step", "steps in scan", "prediction", "query",
    }  # fmt: skip
    assert all(seconds > 0 for seconds in found["compile_s"].values())
    assert found["machine"]["cores"] >= 1 and found["machine"]["device"]
    assert found["versions"]["jax"] == jax.__version__ and found["date"].startswith("20")
    assert not jax.config.jax_enable_compilation_cache
