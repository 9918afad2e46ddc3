"""The commands `classes` and `sections`, as a person types them, on a session of pictures."""

import json

import numpy as np
import pytest
import tiny_session as ts
from commands import caller, flags_of
from PIL import Image

from al_jax import session as sessions
from al_jax.commands import annotate
from al_jax.core.stack import make_images
from experiments import annotate as program


@pytest.fixture(scope="module", autouse=True)
def _flags():
    with flags_of(annotate):
        yield


@pytest.fixture
def run(monkeypatch, capsys):
    return caller(annotate, monkeypatch, capsys)


@pytest.fixture
def place(tmp_path):
    called = [f"s{n}.png" for n in range(6)]
    images = make_images(ts.STACK.images, ts.STACK.names, ts.STACK.inside, sections=called)
    settings = sessions.Settings(0, ts.CONFIG)
    sessions.create(tmp_path / "s", images, ts.IN_RANGE, settings)
    return tmp_path / "s"


def test_a_session_changes_by_commands(run, place, tmp_path):
    def changed(word, *arguments):
        status, said, failed = run(word, f"--workdir={place}", *arguments)
        assert (status, failed) == (0, ""), failed
        return said.strip()

    def refused(word, *arguments):
        status, said, failed = run(word, f"--workdir={place}", *arguments)
        assert status == 2 and said == ""
        return failed

    mask = tmp_path / "mask.png"
    Image.fromarray(ts.truth(2, 1)).save(mask)
    changed("suggest", "--section=s2.png", "--structure=outer")
    assert changed("classes", "--rename=outer", "--to=ring") == "class 'outer' is 'ring' now"
    assert "before its classes or sections changed" in refused("ingest", f"--answer={mask}")
    changed("suggest", "--section=s2.png", "--structure=ring")
    assert "'ring' on section s2.png" in changed("ingest", f"--answer={mask}")
    changed("classes", "--add=core", "--first=s2.png", "--last=s3.png")
    assert changed("classes") == "the classes are background, ring, middle, inner, core"
    said = changed("classes", "--merge=ring,core", "--to=ring")
    assert said.endswith("are one, 'ring'; outlines to be traced again: 1")
    said = changed("undo")
    assert said == "took back: classes 'ring', 'core' are one, 'ring'"

    scan = tmp_path / "scan.png"
    grey = np.tile(np.arange(48, dtype=np.uint8), (40, 1))
    Image.fromarray(np.stack([grey] * 3, -1)).save(scan)
    changed("sections", "--replace=s2.png", f"--images={scan}")
    changed("sections", "--turn=s2.png", "--degrees=180")
    changed("sections", "--leave_out=s0.png")
    found = json.loads(changed("sections", "--json"))
    assert found == {"sections": [f"s{n}.png" for n in range(1, 6)], "left_out": ["s0.png"]}
    changed("sections", "--order=s2.png,s1.png,s3.png,s4.png,s5.png")
    with sessions.open_session(place) as session:
        np.testing.assert_array_equal(session.images.images[0, ..., 0], grey[:, ::-1])
        labels = session.annotations.labels_of(0, session.images)
        expected = (ts.truth(2, 1) & ts.STACK.inside[2])[::-1, ::-1]
        np.testing.assert_array_equal(labels == 1, expected)
    out = tmp_path / "out"
    changed("export", "--formats=png", f"--out={out}")
    assert "core" in (out / "classes.csv").read_text() and (out / "ranges.csv").exists()
    # Of two sections that look alike, a question is of one.
    changed("suggest", "--section=s2.png", "--structure=middle")
    changed("undo")
    changed("sections", "--replace=s1.png", f"--images={scan}")
    assert "run: " in refused("ingest", f"--answer={mask}")

    small = tmp_path / "small.png"
    Image.fromarray(np.full((9, 9), 9, np.uint8)).save(small)
    assert "outlines stay in their pixels" in refused(
        "sections", "--replace=s1.png", f"--images={small}"
    )
    Image.fromarray(np.arange(40 * 48 * 3, dtype=np.uint8).reshape(40, 48, 3)).save(small)
    assert "save it as grey" in refused("sections", "--replace=s1.png", f"--images={small}")
    for word, *arguments in (
        ("sections", "--replace=s1.png"),
        ("sections", "--rename=core", "--to=x"),
        ("sections", "--mirror=s1.png", "--leave_out=s1.png"),
        ("classes", "--rename=core"),
        ("classes", "--add=x", "--to=y"),
        ("classes", f"--images={scan}"),
        ("status", "--add=x"),
    ):
        refused(word, *arguments)


def test_the_program_names_all_commands():
    assert all(word in program.__doc__ for word in annotate.COMMANDS)


def test_names_with_commas(run, place):
    """As typed where one name is meant; in quotes where several are."""

    def changed(*arguments):
        status, said, failed = run("classes", f"--workdir={place}", *arguments)
        assert (status, failed) == (0, ""), failed
        return said.strip()

    assert changed("--rename=outer", "--to=layer 2,3") == "class 'outer' is 'layer 2,3' now"
    assert changed("--rename=layer 2,3", '--to="CA1, oriens"').endswith("is 'CA1, oriens' now")
    status, _, failed = run("classes", f"--workdir={place}", "--merge=CA1, oriens,inner", "--to=x")
    assert status == 2 and "'CA1'" in failed and "; of several, one with a comma stands" in failed
    assert changed('--merge="CA1, oriens",inner', "--to=CA, all").endswith("are one, 'CA, all'")
    assert changed("--split=CA, all", '--to="layer 2,3", B').endswith("into 'layer 2,3', 'B'")
    status, _, failed = run("classes", f"--workdir={place}", "--merge=B,middle", "--to=")
    assert status == 2 and "needs the new name" in failed
