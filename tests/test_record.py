import datetime
import json
import subprocess

import al_jax
from al_jax.commands import record

CPUINFO = """processor : 0
vendor_id : AuthenticAMD
cpu family : 25
model : 1
model name : AMD EPYC

processor : 1
cpu family : 26
model : 2
model name : another
"""


def test_the_processor_is_the_first_of_the_table(tmp_path):
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    assert record.processor(tmp_path / "cpuinfo") == "AMD EPYC (family 25 model 1)"
    assert record.processor(tmp_path / "missing")  # what Python knows


def test_source_is_the_commit_and_whether_files_differ_from_it(tmp_path):
    def git(*words):
        name = ("-c", "user.name=a", "-c", "user.email=a@b")
        call = ["git", "-C", str(tmp_path), *name, *words]
        return subprocess.run(call, check=True, capture_output=True, text=True).stdout.strip()

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert record.source(package) == {}  # in no clone
    git("init", "-q")
    assert record.source(package) == {}  # in a clone that does not hold it
    git("add", ".")
    git("commit", "-qm", "first")
    first = {"commit": git("rev-parse", "HEAD"), "dirty": False}
    assert record.source(package) == first
    (tmp_path / "notes").write_text("")  # what is not in the clone changes nothing
    assert record.source(package) == first
    (package / "__init__.py").write_text("pass")
    assert record.source(package) == first | {"dirty": True}


def test_the_source_of_a_process_is_that_of_its_beginning(monkeypatch):
    first = record.own_source()
    monkeypatch.setattr(record, "source", lambda: {"commit": "another", "dirty": True})
    made = record.record(datetime.datetime.now(datetime.UTC))
    assert made.get("commit") == first.get("commit") != "another"


def test_versions_are_of_what_results_depend_on():
    found = record.versions()
    assert found["al_jax"] == al_jax.__version__
    assert {"python", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "device"} <= found.keys()


def test_a_result_is_recorded_once(tmp_path):
    path, began = tmp_path / "result.json", datetime.datetime.now(datetime.UTC)
    earlier = began - datetime.timedelta(seconds=90)
    first = record.recorded(path, {"dice": (0.5,)}, record.record(earlier))
    found = json.loads(first)["record"]
    assert 90 <= found["seconds"] < 120 and found["machine"]["cores"] >= 1
    assert datetime.datetime.fromisoformat(found["started"]) <= earlier
    path.write_bytes(first)
    assert (
        record.recorded(path, {"dice": (0.5,)}, record.record(began)) == first
    )  # the command once more
    now = record.record(began)
    other = json.loads(record.recorded(path, {"dice": (0.6,)}, now))
    assert other["record"]["seconds"] < 60 and other["dice"] == [0.6]
    path.write_text("{")
    assert json.loads(record.recorded(path, {"dice": (0.5,)}, record.record(began)))["dice"] == [
        0.5
    ]
