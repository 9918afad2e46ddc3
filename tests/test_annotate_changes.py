"""The commands `classes` and `sections`, as a person types them, on a session of pictures."""

import json

import nibabel
import numpy as np
import pytest
import tifffile
import tiny_session as ts
from commands import caller, flags_of
from PIL import Image

from al_jax import session as sessions
from al_jax.commands import annotate
from al_jax.core.stack import make_images
from al_jax.exchange.classes import make_classes
from al_jax.exchange.polygons import to_geojson
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


STACKS = {  # what a person saved of a whole stack: the truth of `outer`, as the stack began
    "all.tif": lambda path, masks: tifffile.imwrite(path, masks, photometric="minisblack"),
    "all.nii.gz": lambda path, masks: nibabel.save(
        nibabel.Nifti1Image(masks.transpose(2, 1, 0), np.diag([-1.0, -1, 1, 1])), path
    ),
    "all.geojson": lambda path, masks: path.write_text(json.dumps(on_planes(masks))),
}


def on_planes(masks):
    """GeoJSON of a stack [N, H, W], as QuPath saves it."""
    classes = make_classes(ts.STACK.names, None)
    found = []
    for z, mask in enumerate(masks):
        for one in json.loads(to_geojson(np.where(mask > 0, 2, 0), classes))["features"]:
            one["geometry"]["plane"] = {"c": -1, "z": z, "t": 0}
            found.append(one)
    return {"type": "FeatureCollection", "features": found}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize(
    ("change", "section", "stored"),
    [
        ("--leave_out=s1.png", "s0.png", True),  # where it was
        ("--leave_out=s1.png", "s3.png", None),  # six pages tell that they are of before
        ("--order=s5.png,s4.png,s3.png,s2.png,s1.png,s0.png", "s1.png", False),
        ("--mirror=s2.png", "s2.png", False),
    ],
)
def test_an_answer_of_a_whole_stack_is_of_its_own_section(
    run, place, tmp_path, name, change, section, stored
):
    n = int(section[1])
    masks = np.stack([255 * ts.truth(k, 1).astype(np.uint8) for k in range(6)])
    STACKS[name](tmp_path / name, masks)
    assert run("sections", f"--workdir={place}", change)[0] == 0
    assert run("suggest", f"--workdir={place}", f"--section={section}", "--structure=outer")[0] == 0
    status, _, failed = run("ingest", f"--workdir={place}", f"--answer={tmp_path / name}")
    if not (name.endswith(".tif") if stored is None else stored):
        assert status == 2 and "is of the whole stack, whose sections were left out" in failed
        return
    assert (status, failed) == (0, "")
    with sessions.open_session(place) as session:
        found = session.images.sections.index(section)
        labels = session.annotations.labels_of(found, session.images)
    np.testing.assert_array_equal(labels == 1, ts.truth(n, 1) & ts.STACK.inside[n])


@pytest.mark.parametrize("form", ["tiff", pytest.param("png", marks=pytest.mark.slow)])
def test_an_export_is_taken_back_on_its_own_sections(run, place, tmp_path, form):
    """Whatever became of their order; not where they were turned, which their images are not."""

    def done(*arguments):
        status, said, failed = run(arguments[0], *arguments[1:])
        assert (status, failed) == (0, ""), failed
        return said

    for n in (2, 4):
        Image.fromarray(255 * ts.truth(n, 1).astype(np.uint8)).save(tmp_path / "mask.png")
        done("suggest", f"--workdir={place}", f"--section=s{n}.png", "--structure=outer")
        done("ingest", f"--workdir={place}", f"--answer={tmp_path / 'mask.png'}", "--sure")
    done("sections", f"--workdir={place}", "--leave_out=s1.png")
    done("sections", f"--workdir={place}", "--order=s5.png,s4.png,s3.png,s2.png,s0.png")
    out, slides = tmp_path / "out", tmp_path / "slides"
    done("export", f"--workdir={place}", f"--formats={form}", f"--out={out}")
    slides.mkdir()
    for n, image in enumerate(np.asarray(ts.STACK.images[..., 0])):
        Image.fromarray(image).save(slides / f"s{n}.png")
    traced = out / {"tiff": "traced.tif", "png": "traced_png"}[form]
    names = f"--names={out / 'classes.csv'}"
    done("init", f"--workdir={tmp_path / 'b'}", f"--images={slides}", names, f"--labels={traced}")
    with sessions.open_session(tmp_path / "b") as session:
        labels = session.labels()
    for n in range(6):
        expected = ts.truth(n, 1) & ts.STACK.inside[n] & (n in (2, 4))
        np.testing.assert_array_equal(labels[n] == 1, expected)
    done("sections", f"--workdir={place}", "--mirror=s2.png")
    done("export", f"--workdir={place}", f"--formats={form}", f"--out={out}")
    words = ("init", f"--workdir={tmp_path / 'c'}", f"--images={slides}", names)
    status, _, failed = run(*words, f"--labels={traced}")
    assert status == 2 and "section s2.png of this export was mirrored" in failed
