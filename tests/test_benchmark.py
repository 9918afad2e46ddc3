"""The benchmark counts and reports what it says; how fast anything is, is not tested."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from absl import flags
from jax.experimental.compilation_cache import compilation_cache

from al_jax.core.stack import InputError
from al_jax.learner.config import Config
from al_jax.model.networks import FCN
from al_jax.model.training import TrainState
from al_jax.simulation import loop
from experiments.bench import benchmark, harness, made_up, work


class Pixelwise(tiny.Pixelwise):
    """With what the benchmark tells of a network, and operations that are easy to count."""

    width = fc_features = fc_size = finest = 2


@pytest.fixture
def _settings(monkeypatch):
    """Flags of the benchmark's own, parsed; the compilation cache's switch as it was."""
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    monkeypatch.setattr(benchmark, "FLAGS", values)
    for name in ("enum", "float", "integer", "string"):
        define = getattr(flags, f"DEFINE_{name}")
        monkeypatch.setattr(
            flags, f"DEFINE_{name}", lambda *a, d=define, **k: d(*a, flag_values=values, **k)
        )
    benchmark.define_flags()
    monkeypatch.setattr(benchmark, "chosen_network", lambda: Pixelwise)
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = {name: getattr(jax.config, name) for name in names}
    yield values
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def test_made_up_stack():
    stack = made_up.bands(3, 32, 5)
    assert stack.images.shape == (3, 32, 32, 1) and stack.num_classes == 5
    for truth in stack.truth:
        assert set(np.unique(truth)) == set(range(5))
    with pytest.raises(InputError, match="--classes 40 do not fit --size 32"):
        made_up.bands(3, 32, 40)


def test_spread():
    assert harness.spread([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "min": 1.0, "max": 10.0}


def test_operations_by_hand():
    # On 64 x 32 pixels; width 1/16: 4, 8, 16, 32, 32 features.
    network = FCN(3, width=1 / 16, fc_features=5, fc_size=7, finest=4)
    pixels = 64 * 32
    first = 2 * pixels * 9 * 3 * 4
    by_hand = first + 2 * (
        pixels * 9 * 4 * 4
        + pixels / 4 * 9 * (4 * 8 + 8 * 8)
        + pixels / 16 * 9 * (8 * 16 + 2 * 16 * 16)
        + pixels / 64 * 9 * (16 * 32 + 2 * 32 * 32)
        + pixels / 256 * (9 * 3 * 32 * 32 + 32 * 3)  # and the score of pool4
        + pixels / 1024 * (49 * 32 * 5 + 5 * 5 + 5 * 3)
    )
    assert work.operations(network, 64, 32) == (by_hand, first)
    assert work.operations(network, 33, 32) == (by_hand, first)  # padded


def test_peak_counts_operations(monkeypatch):
    monkeypatch.setattr(work, "PRODUCT", 8)
    monkeypatch.setattr(harness, "timed", lambda *_: (None, 0.5))
    assert work.peak(jnp.float32, 2) == 2 * 8**3 / 0.5


PEER = """
import json, sys
given = dict(a.removeprefix("--").split("=") for a in sys.argv[1:] if "=" in a)
print(json.dumps({"torch": "fake", "ms_per_step": 6000, "ms_per_section": 1500, **given}))
"""


@pytest.mark.parametrize(
    ("peer", "message"),
    [("absent.py", "absent.py: there is no such file"), ("broken.py", "broken.py: no torch")],
)
def test_a_peer_that_fails(_settings, tmp_path, peer, message):
    (tmp_path / "broken.py").write_text("raise SystemExit('no torch')")
    _settings(["benchmark", f"--peer={tmp_path / peer}"])
    with pytest.raises(InputError, match=message):
        benchmark.make_peer(Pixelwise(2), Config())()


@pytest.mark.slow
def test_counts_and_report(_settings, monkeypatch, capsys, tmp_path):
    # A clock on which a step takes 1 s outside and 2 s inside the scan, a section 3 s, a query 4 s;
    # three runs together take as long as one; the machine gets ten times slower on the way. What
    # would be timed is run all the same.
    file = tmp_path / "line.json"
    _settings(
        [
            "benchmark",
            "--sections=5",
            "--size=36",
            "--classes=4",
            "--crop=16",
            "--batch=2",
            "--repeats=4",
            "--runs=3",
            f"--json={file}",
            f"--peer={tmp_path / 'peer.py'}",
            "--peer_fc=7",
        ]
    )
    (tmp_path / "peer.py").write_text(PEER)
    monkeypatch.setattr(work, "operations", lambda _, height, width: (5e9, 1e9))
    monkeypatch.setattr(work, "peak", lambda *_: 1e9)
    kinds = {"step": 12 * 1, "scan": 12 * 2, "runs": 12 * 2, "section": 5 * 3, "query": 2 * 4}
    asked = []

    def timed(function, *args):
        result = jax.block_until_ready(function(*args))
        if not args:  # a compilation
            return result, 1.0
        if isinstance(args[0], TrainState | loop.Run):
            kind = "section" if isinstance(args[0], TrainState) else "query"
        elif len(args) == 5:
            kind = "step"
        else:
            kind = "runs" if args[0].ndim else "scan"
        asked.append(kind)
        seconds = kinds[kind]
        return result, seconds * (10 if len(asked) > 15 else 1)

    monkeypatch.setattr(harness, "timed", timed)
    benchmark.main()
    table, line = capsys.readouterr().out.rsplit("\n", 2)[:2]
    found = json.loads(line)
    assert json.loads(file.read_text()) == found
    assert found["setting"] == {
        "network": "small",
        "crop": 16,
        "batch": 2,
        "query_steps": 18,
        "sections": 5,
        "size": 36,
        "classes": 4,
        "width": 2,
        "fc_features": 2,
        "fc_size": 2,
        "finest": 2,
        "precision": "float32",
    }
    # Three steps an epoch, so four epochs are twelve steps; the warm-up is not counted.
    assert found["counts"] == {"steps": 12, "queries": 2, "repeats": 4}
    order = [kind for kind in asked if kind in ("step", "scan")]
    assert order == ["scan", "step", "step", "scan"] * 2 + ["scan", "step"]
    assert found["ratio"] == {"median": 2.0, "min": 2.0, "max": 2.0}
    for name, per_one in (
        ("step_ms", 1),
        ("step_in_scan_ms", 2),
        ("predict_section_ms", 3),
        ("query_ms", 4),
    ):
        row = found[name]
        assert (row["min"], row["max"]) == (1000 * per_one, 10000 * per_one)
    # A step is three times forward but for one input, twice over: 28 Gflop; a section is 5.
    assert found["gflop"] == {"step": 28.0, "section": 5.0}
    medians = (
        found["step_in_scan_ms"]["median"] / 1000,
        found["predict_section_ms"]["median"] / 1000,
    )
    assert found["share_of_product"] == {
        "step_in_scan": round(28 / medians[0], 4),
        "section": round(5 / medians[1], 4),
    }
    # The peer's query is 6 epochs of 3 steps and 5 sections; ours slows down half-way.
    peer = found["peer"]
    assert peer["query_ms"]["median"] == 18 * 6000 + 5 * 1500
    assert peer["is"] == {"torch": "fake", "width": "2", "fc": "7"}
    assert set(peer["pairs"]["step"]) == {3.0, 0.3}
    assert set(peer["pairs"]["section"]) == {0.5, 0.05}
    assert len(peer["pairs"]["query"]) == 4
    runs = found["runs"]
    assert runs["count"] == 3
    assert (runs["step_ms"]["min"], runs["step_ms"]["max"]) == (666.6667, 6666.6667)
    assert runs["one_after_another_over_together"] == {"median": 3.0, "min": 3.0, "max": 3.0}
    more = "peer / ours, query", "most memory, process, MiB", "step of one of 3 runs, ms"
    for title in (*benchmark.ROWS.values(), *more):
        assert title in table
    assert set(found["compile_s"]) == {
        "initial weights",
        "step",
        "steps in scan",
        "prediction",
        "query",
        "steps of all runs",
    }
    for seconds in found["compile_s"].values():
        assert seconds["cold"] > 0 and seconds["cached"] > 0
    assert found["memory"]["process_MiB"] > 100
    assert set(found["memory"]["temporary_MiB"]) == set(found["compile_s"])
    assert found["machine"]["cores"] >= 1 and found["machine"]["device"]
    assert found["versions"]["jax"] == jax.__version__ and found["date"].startswith("20")
