"""Sessions by commands: each does its part and prints a line; what is wrong is one line too."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import types

import jax
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tiny
import tiny_session as ts
from absl.testing import flagsaver
from commands import caller, flags_of
from PIL import Image
from samples import TABLE, oblique_volumes, save

from al_jax import session as sessions
from al_jax.commands import annotate, command
from al_jax.commands.earlier import beginning, known_of
from al_jax.core.stack import InputError
from al_jax.core.strategies import SEr
from al_jax.files.slicing import AXES
from al_jax.files.stacks import load_default, write_stack
from al_jax.learner import config as settings
from al_jax.learner.config import network_label
from al_jax.learner.neighbours import make_fields
from al_jax.learner.transfer import Experience, flat_weights, write_experience
from al_jax.model import resolution
from al_jax.model.augmentation import TABLE1
from al_jax.simulation import runner
from al_jax.simulation.prepare import prepare, with_fields
from experiments.bench import rehearse

pytestmark = pytest.mark.usefixtures("programs_once")
ROOT = pathlib.Path(__file__).parents[1]
QUICK = ("--initial_steps=8", "--query_steps=2", "--crop=32", "--batch=4")


@pytest.fixture(scope="module", autouse=True)
def own_flags():
    """The flags of the command, for the tests of this module only."""
    with flags_of(annotate):
        yield


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The working directory, with a stack in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "DEFAULT", tiny.config(neighbours=True))
    write_stack("stack.npz", ts.STACK)
    return tmp_path


@pytest.fixture
def call(folder, monkeypatch, capsys):
    """Runs the command in this process; its line, or its JSON."""
    run = caller(annotate, monkeypatch, capsys)

    def good(*arguments: str):
        status, out, err = run(*arguments, "--workdir=s")
        assert status == 0, err
        assert out.count("\n") == 1, out
        return json.loads(out) if "--json" in arguments else out.strip()

    return good


@pytest.fixture
def refused(folder, monkeypatch, capsys):
    """Asserts that the command refuses, and stores nothing; its line."""
    run = caller(annotate, monkeypatch, capsys)

    def bad(*arguments: str) -> str:
        path = folder / "s" / "ledger.jsonl"
        before = path.read_bytes() if path.exists() else None
        status, out, err = run(*arguments, "--workdir=s")
        assert (status, out) == (2, ""), err
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert (path.read_bytes() if path.exists() else None) == before
        return err.removeprefix("error: ").strip()

    return bad


def test_from_init_to_export(call, folder):
    line = call("init", "--stack=stack.npz", "--truth", *QUICK)
    assert line.startswith("s: a new session, 6 sections of 40x48, 4 classes, 0 answers so far; ")
    assert line.endswith("its truth can answer")
    assert call("train") == "there is nothing to learn from yet: answer the first examples"
    for _ in range(4):
        asked = call("suggest", "--json")
        assert asked["example"] and asked["files"]
        stored = call("ingest", "--truth", "--json")
        assert (stored["section"], stored["structure"]) == (asked["section"], asked["structure"])
    assert "network 4 answers behind" in call("status")
    assert call("train").startswith("learnt from event 4: loss ")
    assert call("train") == "the network has learnt from every answer"
    # Its only outline has 56 px: the geometric mean with the one that the network proposes there.
    asked = call("suggest", "--json")
    proposed = sessions.read_session("s").network.learner.proposed
    drawn = proposed[asked["section"], ts.STACK.names.index(asked["structure"])]
    expected = 56 * np.sqrt(np.clip(drawn / 56, 1 / 4, 4))
    assert f"no Dice expected yet, {expected:.0f} of {expected:.0f} px" in call("suggest")
    call("suggest", "--section=3", "--structure=outer")  # large, so that the proposal is not empty
    assert "px of outline" in call("ingest", "--accept")
    assert call("undo").startswith("took back the answer of '")
    assert call("skip", "--section=0", "--structure=inner", "--reason=torn").endswith("skipped")
    assert call("absent", "--section=0", "--structure=outer") == "'outer' on section 0: absent"
    assert call("undo") == "took back the absent of 'outer' on section 0"
    assert call("range", "--structure=inner", "--first=") == "'inner': from section 0 to 5"
    now = call("status", "--json")
    assert (now["answers"], now["skipped"], now["training"]) == (4, 1, 1)
    assert call("export", "--formats=png,tiff").endswith("report.html tells how it went")
    made = {path.name for path in (folder / "s" / "export").iterdir()}
    assert {"ranges.csv", "report.html", "answers.csv", "labels.tif", "labels_png"} <= made
    kinds = [event["event"] for event in sessions.read_session(folder / "s").events]
    assert kinds == ["answer"] * 5 + ["withdraw", "skip", "absent", "withdraw", "range"]


def test_an_answer_comes_back_as_a_file(call, refused, folder):
    call("init", "--stack=stack.npz", "--truth", *QUICK)
    asked = call("suggest", "--section=2", "--structure=outer", "--json")
    assert (asked["section"], asked["structure"]) == (2, "outer")
    template = next(path for path in asked["files"] if path.endswith("template.png"))
    with Image.open(template) as image:
        ids = np.asarray(image)
    traced = np.where(ts.truth(2, 1), 2, ids).astype(np.uint8)  # ids count from 1
    Image.fromarray(traced).save("traced.png")
    call("ingest", "--answer=traced.png")
    np.testing.assert_array_equal(
        sessions.read_session("s").annotations.labels[2] == 1, ts.truth(2, 1)
    )
    call("suggest", "--section=2", "--structure=middle")
    Image.fromarray(traced[:-1]).save("small.png")
    assert "small.png" in refused("ingest", "--answer=small.png")
    other = traced.copy()
    other[ts.truth(2, 1)] = 4
    Image.fromarray(np.where(ts.truth(2, 2), 3, other).astype(np.uint8)).save("other.png")
    assert "outer" in refused("ingest", "--answer=other.png")
    Image.fromarray(ids).save("empty.png")
    assert "absent" in refused("ingest", "--answer=empty.png")


@pytest.mark.parametrize("axis", AXES)
def test_a_volume_is_traced_as_it_lies(axis, call, refused, folder):
    """On the grid of the volume, as ITK-SNAP and 3D Slicer do; what is saved there is ITK's."""
    slicerio = pytest.importorskip("slicerio", reason="pip install '.[annotate]'")
    image, labels, affine = oblique_volumes()
    save(folder / "i.nii.gz", image, affine)
    save(folder / "l.nii.gz", labels, affine)
    (folder / "names.csv").write_text(TABLE)
    files = ("--images=i.nii.gz", "--labels=l.nii.gz", "--names=names.csv", "--truth")
    call("init", *files, f"--axis={axis}", "--sections=5", "--json", *QUICK)
    images = sessions.read_session("s").images
    volume = sitk.ReadImage("i.nii.gz")

    def ask(section: int, structure: str, form: str) -> pathlib.Path:
        pair = f"--section={images.sections[section]}", f"--structure={structure}"
        asked = call("suggest", *pair, f"--formats={form}", "--json")
        return pathlib.Path(asked["files"][0]).parent

    def resampled(path: pathlib.Path) -> np.ndarray:
        """On the grid of the volume, [I, J, K]."""
        own = sitk.ReadImage(str(path))
        return sitk.GetArrayFromImage(sitk.Resample(own, volume, sitk.Transform(), 1)).T

    def answer(ids: np.ndarray) -> str:
        own = sitk.GetImageFromArray(np.ascontiguousarray(ids.T.astype(np.uint8)))
        own.CopyInformation(volume)
        sitk.WriteImage(own, "traced.nii.gz")
        return "--answer=traced.nii.gz"

    ask(1, "background", "png")
    call("ingest", "--truth")
    question = ask(1, "left", "nifti")
    shown, template = (resampled(question / f"{role}.nii.gz") for role in ("image", "template"))
    assert (shown > 0).any() and (shown == image)[shown > 0].all()
    assert (template > 0).any() and (labels[template > 0] == 0).all()
    left, shell = (images.names.index(name) for name in ("left", "shell"))
    changed = np.where(template > 0, shell + 1, labels == 3)
    assert "px of 'background' differ" in refused("ingest", answer(changed))
    # The structure is traced on every slice: that of the section is taken. It is noise, no area.
    call("ingest", answer(np.where(labels == 3, left + 1, template)), "--sure")

    ask(3, "shell", "seg.nrrd")
    place = np.diag([-1, -1, 1, 1]) @ nibabel.load("i.nii.gz").affine
    made = slicerio.create_segmentation(labels.shape, place)
    slicerio.add_segment(made, (labels == 7).astype(np.uint8), {"id": "a", "name": "shell"})
    slicerio.write_segmentation("traced.seg.nrrd", made)
    call("ingest", "--answer=traced.seg.nrrd", "--sure")

    call("export", "--formats=nifti,seg.nrrd")
    found = folder / "s" / "export"
    traced = nibabel.load(found / "traced.nii.gz")
    np.testing.assert_array_equal(traced.affine, nibabel.load("i.nii.gz").affine)
    segments = slicerio.read_segmentation(str(found / "traced.seg.nrrd"))
    np.testing.assert_allclose(segments["ijkToLPS"], place, atol=1e-6)
    annotated = sessions.read_session("s").annotations.labels
    for section, name, own in ((1, left, 3), (3, shell, 7)):
        truth = sessions.true_mask(folder / "s", section, name)
        np.testing.assert_array_equal(annotated[section] == name, truth)
        for mask in (
            np.asarray(traced.dataobj) == name + 1,
            slicerio.segment_mask(segments, images.names[name]) > 0,
        ):
            assert mask.shape == labels.shape and mask.sum() == truth.sum()
            assert (labels[mask] == own).all()


def test_what_is_wrong_is_one_line(call, refused):
    assert refused("paint") == (f"'paint' is not one of {', '.join(annotate.COMMANDS)}; see --help")
    line = "s: is not a session; to make one, run: annotate init --workdir=s"
    assert refused("status") == line
    assert "--images and --names go together" in refused("init", "--images=x")
    call("init", "--stack=stack.npz", *QUICK)
    assert "is not empty" in refused("init", "--stack=stack.npz")
    assert refused("ingest") == "give one of --answer=FILE, --accept and --truth"
    assert "nothing was asked yet" in refused("ingest", "--accept")
    call("suggest")
    assert "has no proposal to accept" in refused("ingest", "--accept")
    assert "has no truth that could answer" in refused("ingest", "--truth")
    assert "there is no structure 'nose'" in refused("skip", "--section=1", "--structure=nose")
    assert "give both or none" in refused("suggest", "--section=1")
    assert "--structure, and --first" in refused("range", "--structure=inner")
    assert "--images has no effect with status" in refused("status", "--images=x")


def test_what_would_have_no_effect_is_refused(call, refused):
    assert "--labels has no effect without --images" in refused("init", "--labels=x")
    assert "--dice_over has no effect in a session" in refused("init", "--dice_over=stack")
    call("init", "--stack=stack.npz", "--truth", *QUICK)
    assert "--alpha has no effect with train" in refused("train", "--alpha=0.1")
    assert "--section has no effect with status" in refused("status", "--section=1")
    assert "--widen has no effect with undo" in refused("undo", "--widen")
    assert "--sure has no effect with suggest" in refused("suggest", "--sure")
    assert "--downsample has no effect with export" in refused("export", "--downsample=4")
    assert "--axis has no effect with suggest" in refused("suggest", "--axis=axial")
    assert "--wait has no effect with init" in refused("init", "--wait", "--stack=stack.npz")
    assert "--out has no effect with the window" in refused("--out=x")
    call("suggest")
    said = refused("ingest", "--truth", "--section=2", "--structure=outer")
    assert "--section has no effect with ingest" in said
    call("ingest", "--truth")
    for words in (("absent",), ("ingest", "--truth"), ("skip",)):  # nothing else was asked
        assert "has been answered; run: annotate suggest --workdir=s, or" in refused(*words)


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Folders that the window was opened on; there is no display here."""
    found: list[str] = []
    stand_in = types.SimpleNamespace(
        check_display=lambda: None,
        start_computing=lambda: None,
        run=lambda place=None, wait=False: found.append(str(place)),
        leave=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "al_jax.window", stand_in)
    return found


def test_without_any_flag_the_window_asks_what_to_open(monkeypatch, capsys, opened):
    run = caller(annotate, monkeypatch, capsys)
    assert run() == (0, "", "") and opened == ["None"]
    for given in ("--wait", "--images=slides", "--seed=0"):
        line = "error: --workdir is missing; name the folder of the session\n"
        assert run(given) == (2, "", line)
    assert opened == ["None"]


def write_sections(name: str, last: int = 0) -> None:
    """Folders of images and labels; the last image is one brighter by `last`."""
    for kind, values in (("images", ts.STACK.images[..., 0]), ("labels", ts.STACK.truth.clip(0))):
        os.makedirs(f"{name}_{kind}")
        for n, own in enumerate(values.astype(np.uint8)):
            extra = last if n == 5 and kind == "images" else 0
            Image.fromarray(own + np.uint8(extra)).save(f"{name}_{kind}/s{n}.png")


CLASSES = "id,name\n0,background\n1,outer\n2,middle\n3,inner\n"
BEGUN = (
    "--images=a_images",
    "--names=names.csv",
    "--ranges=ranges.csv",
    "--seed=3",
    "--strategy=HB",
)
BEGUN = (*BEGUN, "--alpha=0.25", *QUICK)


@pytest.fixture
def begun(folder):
    """A session of files, and other files beside them."""
    write_sections("a")
    write_sections("b", last=1)
    pathlib.Path("names.csv").write_text(CLASSES)
    pathlib.Path("other.csv").write_text(CLASSES.replace("inner", "core"))
    pathlib.Path("fewer.csv").write_text("id,name\n0,background\n1,outer\n")
    pathlib.Path("ranges.csv").write_text("name,first,last\ninner,s1.png,s4.png\n")
    pathlib.Path("wider.csv").write_text("name,first,last\ninner,,s4.png\n")
    return folder


def test_flags_of_an_old_session_say_what_it_began_with(begun, monkeypatch, capsys, opened):
    monkeypatch.setattr(settings, "DEFAULT", tiny.config(augmentation=TABLE1, neighbours=True))
    run = caller(annotate, monkeypatch, capsys)
    assert run("init", "--workdir=s", *BEGUN)[0] == 0
    before = sorted(path.name for path in (begun / "s").iterdir())
    alike = [(flag,) for flag in BEGUN if not flag.startswith("--images")]
    alike += [BEGUN, BEGUN[::-1], (), BEGUN[:1], BEGUN[:2], ("--preset=default", *BEGUN)]
    for flags_given in alike:
        status, out, err = run("--workdir=s", *flags_given)
        assert (status, out, err) == (0, "", ""), flags_given
    assert len(opened) == len(alike)
    otherwise = [
        ("--images=b_images",),
        ("--names=other.csv",),
        ("--names=fewer.csv",),
        ("--ranges=wider.csv",),
        ("--seed=0",),
        ("--strategy=SDr",),
        ("--alpha=0.5",),
        ("--initial_steps=9",),
        ("--crop=48",),
        ("--network=full",),
        ("--field=paper",),
        ("--preset=paper",),
        ("--images=b_images", "--seed=0", "--batch=5"),
    ]
    for given in otherwise:
        for words in ((), ("init",)) if given[0][:3] == "--i" else ((),):
            rest = [flag for flag in BEGUN if not words or flag.split("=")[0] not in str(given)]
            more = rest if words else ()
            status, out, err = run(*words, "--workdir=s", *more, *given)
            assert (status, out) == (2, ""), (given, err)
            line = "error: s: its session began with something else than "
            assert err.startswith(line) and err.count("\n") == 1, err
            assert all(flag in err for flag in given)
    missing = [
        ("--images=none", "none: there is no such file; check the path"),
        ("--names=none.csv", "none.csv: there is no such file"),
        ("--ranges=none.csv", "none.csv: there is no such file"),
        ("--stack=none.npz", "none.npz: there is no such file"),
        ("--weights=none.npz", "none.npz: there is no such file"),
        ("--from=none.npz", "none.npz: there is no such file"),
        ("--stack=stack.npz", "--stack=stack.npz; leave that out"),
        ("--labels=a_labels", "--labels has no effect without --images"),
        ("--axis=axial", "--axis has no effect without --images"),
        ("--simulated_start", "--simulated_start has no effect with a session that exists"),
        ("--dice_over=stack", "--dice_over has no effect in a session"),
        ("--section=2", "--section has no effect with the window"),
        ("--strategy=Best", "--strategy=Best; leave that out"),
        ("--truth", "something else than --truth=True; leave that out"),
        ("--network=huge", "network 'huge' is not one of"),
    ]
    for flag, says in missing:
        status, out, err = run("--workdir=s", flag)
        assert (status, out) == (2, "") and says in err and err.count("\n") == 1, err
    status, _, err = run("init", "--workdir=s", *BEGUN)
    assert status == 2 and "is not empty but a session already; go on with: annotate" in err
    assert len(opened) == len(alike)
    assert sorted(path.name for path in (begun / "s").iterdir()) == before


def test_labels_of_an_old_session_are_those_it_began_with(begun, monkeypatch, capsys, opened):
    """As answers, or as the truth of a demonstration; and so are stacks and experience."""
    run = caller(annotate, monkeypatch, capsys)
    files = ("--images=a_images", "--labels=a_labels", "--names=names.csv")
    shutil.copytree("a_labels", "c_labels")
    Image.fromarray(np.zeros((40, 48), np.uint8)).save("c_labels/s2.png")
    monkeypatch.setattr("al_jax.learner.transfer.AGREES", 0.0)
    for seed, name in ((3, "earlier.npz"), (2, "another.npz")):
        write_experience(begun / name, carried(seed))
    turned = np.where(ts.STACK.inside, (ts.STACK.truth + 1) % 4, -1)
    write_stack("turned.npz", dataclasses.replace(ts.STACK, truth=turned))
    for number, (first, other) in enumerate(
        [
            (files, "--labels=c_labels"),
            ((*files, "--truth"), "--labels=c_labels"),
            (("--stack=stack.npz", "--truth"), "--stack=turned.npz"),
            (("--stack=stack.npz", "--from=earlier.npz"), "--from=another.npz"),
        ]
    ):
        place = f"--workdir=s{number}"
        assert run("init", place, *first, *QUICK)[0] == 0
        assert run(place, *first)[::2] == (0, ""), first
        name = other.split("=")[0]
        changed = [other if flag.startswith(f"{name}=") else flag for flag in first]
        status, _, err = run(place, *changed)
        assert status == 2 and f"something else than {other}; leave" in err, err
    assert len(opened) == 4


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_the_exit_status_says_whether_it_is_stored(call, monkeypatch, capsys):
    call("init", "--stack=stack.npz", *QUICK)
    run = caller(annotate, monkeypatch, capsys)
    pair = ("--section=1", "--structure=outer")
    for words, expected in (
        (("skip", *pair), 0),
        (("absent", *pair, "--json"), 0),
        (("status",), 1),
    ):
        with open("/dev/full", "w") as full, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", command._guarded(full))
            status, _, err = run(*words, "--workdir=s")
        assert (status, err) == (
            expected,
            "note: the output cannot be written (No space left on device)\n",
        )
    kinds = [event["event"] for event in sessions.read_session("s").events]
    assert kinds == ["skip", "absent"]


@pytest.mark.parametrize("code", ["ascii", "latin-1"])
def test_json_of_an_output_without_umlauts_is_json(call, monkeypatch, capsys, code):
    names = ("background", "\u00e4u\u00dfere", "mittlere \u7b2c", "inner")
    write_stack("stack.npz", dataclasses.replace(ts.STACK, names=names))
    call("init", "--stack=stack.npz", *QUICK)
    run = caller(annotate, monkeypatch, capsys)
    for words in (("--json",), ()):
        with open("out", "w", encoding=code) as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", command._guarded(file))
            pair = ("--section=1", f"--structure={names[2]}")
            assert run("skip", *pair, *words, "--workdir=s")[0] == 0
        said = pathlib.Path("out").read_text(code)
        if words:
            assert json.loads(said)["structure"] == names[2]
        else:
            assert said == "'mittlere \\u7b2c' on section 1: skipped\n"


def test_results_may_be_numbers_of_numpy(capsys):
    with flagsaver.flagsaver(json=True):
        annotate.print_result("", {"a": np.int64(3), "b": jax.numpy.ones(2), "c": np.float32(0.5)})
    assert json.loads(capsys.readouterr().out) == {"a": 3, "b": [1.0, 1.0], "c": 0.5}


def test_a_question_of_other_images_is_refused(call, refused, folder, monkeypatch):
    call("init", "--stack=stack.npz", "--truth", *QUICK)
    call("suggest")
    (folder / "s").rename("other")
    stack = dataclasses.replace(ts.STACK, images=255 - ts.STACK.images)
    write_stack("stack.npz", stack)
    call("init", "--stack=stack.npz", "--truth", *QUICK)
    (question,) = (folder / "other" / "questions").iterdir()
    said = refused("ingest", "--truth", f"--question={question}")
    assert "is a question of another session" in said


def test_an_init_that_fails_leaves_nothing(call, folder, monkeypatch, capsys):
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for n in range(6):
        Image.fromarray(ts.STACK.images[n, ..., 0]).save(f"images/{n}.png")
        Image.fromarray(ts.STACK.truth[n].clip(0).astype(np.uint8)).save(f"labels/{n}.png")
    pathlib.Path("names.csv").write_text("id,name\n0,background\n1,outer\n2,middle\n3,inner\n")
    pathlib.Path("ranges.csv").write_text("name,first,last\ninner,2,2\n")
    files = ("--images=images", "--labels=labels", "--names=names.csv", "--ranges=ranges.csv")
    run = caller(annotate, monkeypatch, capsys)
    status, _, said = run("init", "--workdir=s", *files, *QUICK)
    assert status == 2 and "is outside the range of 'inner'" in said
    assert not (folder / "s").exists()
    call("init", *files, "--margin=3", "--json", *QUICK)
    found = sessions.read_session("s").annotations.state.in_range[:, 3]
    assert found.all()


def test_labels_from_before_and_ranges_from_a_table(call, folder):
    for name, arrays in (("images", ts.STACK.images[..., 0]), ("labels", None)):
        (folder / name).mkdir()
        for n in range(6):
            # The innermost structure has not been traced; 0 says nothing.
            known = np.where((ts.STACK.truth[n] == 3) | (n > 2), 0, ts.STACK.truth[n].clip(0))
            own = known.astype(np.uint8) if arrays is None else arrays[n]
            Image.fromarray(own).save(folder / name / f"{n}.png")
    pathlib.Path("names.csv").write_text("id,name\n0,background\n1,outer\n2,middle\n3,inner\n")
    pathlib.Path("ranges.csv").write_text("name,first,last\ninner,1,4\n")
    files = ("--images=images", "--labels=labels", "--names=names.csv", "--ranges=ranges.csv")
    made = call("init", *files, "--json", *QUICK)
    assert (made["answers"], made["truth"], made["classes"][3]) == (6, False, "inner")
    session = sessions.read_session("s")
    assert {e["how"] for e in session.events} == {"given"}
    assert session.annotations.state.in_range[:, 3].tolist() == [False, *[True] * 4, False]


def _pictures(folder: str, arrays, names) -> None:
    pathlib.Path(folder).mkdir()
    for array, name in zip(arrays, names, strict=True):
        Image.fromarray(np.asarray(array, np.uint8)).save(f"{folder}/{name}")


def test_a_class_is_added_to_what_was_traced(call, folder):
    """An export with another row in its table begins a session that knows all that was traced."""
    names = [f"{n + 1}.png" for n in range(6)]
    _pictures("images", ts.STACK.images[..., 0], names)
    pathlib.Path("names.csv").write_text("id,name\n0,background\n1,outer\n2,middle\n3,inner\n")
    pathlib.Path("ranges.csv").write_text("name,first,last\ninner,2,4\n")
    files = ("--images=images", "--names=names.csv", "--ranges=ranges.csv", *QUICK)
    call("init", *files, "--json")
    for structure, section in (("outer", 3), ("inner", 3), ("background", 3), ("outer", 4)):
        call("suggest", f"--section={section}", f"--structure={structure}")
        own = ts.truth(section - 1, ts.STACK.names.index(structure))
        Image.fromarray(own.astype(np.uint8) * 255).save("mask.png")
        assert f"on section {section}.png: " in call("ingest", "--answer=mask.png")
    traced = sessions.read_session("s").labels()
    call("export", "--formats=png")
    pathlib.Path("s").rename("before")
    table = pathlib.Path("before/export/classes.csv").read_text() + "5,nucleus,#ff00ff\n"
    pathlib.Path("classes.csv").write_text(table)
    labels = "--labels=before/export/traced_png"
    made = call("init", "--images=images", "--names=classes.csv", labels, *QUICK, "--json")
    assert made["answers"] == 4 and made["classes"][4] == "nucleus"
    session = sessions.read_session("s")
    np.testing.assert_array_equal(session.labels(), traced)
    assert session.images.inside.all()
    assert {e["structure"] for e in session.events} == {"background", "outer", "inner"}


def test_what_a_folder_leaves_out_is_said_where_notes_are(folder, monkeypatch, capsys):
    names = [f"{n + 1}.png" for n in range(6)]
    _pictures("images", ts.STACK.images[..., 0], names)
    _pictures("labels", ts.STACK.truth[[1, 4]].clip(0), ["2.png", "5.png"])
    pathlib.Path("images/7.webp").touch()
    pathlib.Path("names.csv").write_text("id,name\n0,background\n1,outer\n2,middle\n3,inner\n")
    pathlib.Path("ranges.csv").write_text("name,first,last\ninner,2,5\n")
    files = ("--images=images", "--names=names.csv", "--ranges=ranges.csv", *QUICK)
    run = caller(annotate, monkeypatch, capsys)
    status, said, _ = run("init", "--workdir=s", "--labels=labels", *files)
    assert status == 0 and said.startswith(
        "note: images: 6 files are sections; left out are 1 .webp"
    )
    assert said.endswith("ranges: 'inner' 2.png to 5.png\n")
    assert len(sessions.read_session("s").events) == 6
    pathlib.Path("images/4.png").unlink()
    pathlib.Path("images/4.png").symlink_to("../.git/annex/objects/4.png")
    status, said, error = run("init", "--workdir=t", *files)
    assert (status, said) == (2, "") and "4.png: is a link" in error and "datalad get" in error
    assert not (folder / "t").exists()


def fails(*_, **__):
    raise InputError("s/network: is full; make room")


def runs_out(*_, **__):
    raise MemoryError("17 GB\nare not there")


def is_interrupted(*_, **__):
    signal.raise_signal(signal.SIGINT)


LEARN = "al_jax.commands.session_results.learn"
END = "al_jax.session.Session.end"


@pytest.mark.parametrize(
    "place, failure, says",
    [
        (LEARN, fails, "note: s/network: is full; make room; all but"),
        (LEARN, runs_out, "note: MemoryError: 17 GB are not there; all but"),
        (END, fails, "note: s/network: is full; make room; all but"),
        (LEARN, is_interrupted, "stopped; all but"),
    ],
)
def test_what_is_stored_is_said_and_is_no_failure(
    call, folder, monkeypatch, capsys, place, failure, says
):
    """Of `ingest --wait`, whatever becomes of the training and of its checkpoint."""
    call("init", "--stack=stack.npz", "--truth", *QUICK)
    call("suggest")
    run = caller(annotate, monkeypatch, capsys)
    with monkeypatch.context() as patch:
        patch.setattr(place, failure)
        patch.setattr(command.os, "_exit", sys.exit)
        status, out, err = run("ingest", "--truth", "--wait", "--workdir=s")
    assert status == 0 and out.startswith("'") and " px of outline" in out.splitlines()[0]
    assert (out + err).splitlines()[1].startswith(says)
    assert (out + err).endswith(
        "the network is stored, which learns by: annotate train --workdir=s\n"
    )
    assert len(sessions.read_session("s").events) == 1


def test_what_is_not_stored_is_a_failure(call, refused, folder, monkeypatch, capsys):
    call("init", "--stack=stack.npz", "--truth", *QUICK)
    call("suggest")
    run = caller(annotate, monkeypatch, capsys)
    with monkeypatch.context() as patch:
        patch.setattr("al_jax.commands.session_questions.answer_truly", fails)
        assert refused("ingest", "--truth", "--wait") == "s/network: is full; make room"
        patch.setattr("al_jax.commands.session_questions.answer_truly", is_interrupted)
        patch.setattr(command.os, "_exit", sys.exit)
        status, out, err = run("ingest", "--truth", "--wait", "--workdir=s")
    assert (status, out, err) == (130, "", "stopped; run the same command again\n")
    with monkeypatch.context() as patch:  # what a training is to store is its checkpoint
        patch.setattr("al_jax.commands.session_results.learn", lambda session: (1, 0.5))
        patch.setattr(sessions.Session, "save_network", fails)
        assert refused("train") == "s/network: is full; make room"


@pytest.mark.slow
def test_commands_ask_what_a_simulation_asks(call, folder):
    """With the truth as the person and --wait; the start is the simulation's too."""
    call("init", "--stack=stack.npz", "--truth", "--simulated_start", "--seed=3", *QUICK)
    pairs = []
    for _ in range(3):
        asked = call("suggest", "--wait", "--json")
        pairs.append((asked["section"], ts.STACK.names.index(asked["structure"])))
        call("ingest", "--truth")
    config = sessions.read_session("s").settings.config
    assert pairs == simulated(config, 3)[: len(pairs)]


@pytest.mark.slow
@pytest.mark.parametrize("knows, first, steps", [(4, [], 0), (3, ["inner"], 0), (3, ["inner"], 8)])
def test_a_carried_session_asks_what_a_simulation_asks(
    call, folder, monkeypatch, knows, first, steps
):
    """Examples are of classes alone that earlier stacks did not show; a training may follow."""
    monkeypatch.setattr("al_jax.learner.transfer.AGREES", 0.0)  # the network is as it was drawn
    earlier = carried(knows)
    write_experience(folder / "earlier.npz", earlier)
    start = ("--truth", "--simulated_start", "--seed=3", "--from=earlier.npz")
    line = call("init", "--stack=stack.npz", *start, *QUICK[1:], f"--initial_steps={steps}")
    known = ", ".join(ts.STACK.names[:knows])
    assert line.endswith(
        f"; begun from earlier stacks (outlines on 2 sections): classes {known}; "
        f"new: {', '.join(first) or 'none'}"
    )
    config = sessions.read_session("s").settings.config
    events = sessions.read_session("s").events
    assert [event["structure"] for event in events] == first
    assert "proposal" in str(call("suggest", "--json")["files"])  # before anything is learnt here
    pairs = []
    for _ in range(5):
        asked = call("suggest", "--wait", "--json")
        pairs.append((asked["section"], ts.STACK.names.index(asked["structure"])))
        call("ingest", "--truth")
    assert pairs == simulated(config, 3, earlier)[: len(pairs)]


def test_the_window_opens_on_a_session_begun_from_an_earlier_one(call, folder, monkeypatch):
    """The flags of `init` go without the word, too; then the window opens on what they made."""
    opened = []
    stand_in = types.SimpleNamespace(
        check_display=lambda: None,
        start_computing=lambda: None,
        run=lambda place, wait: opened.append((str(place), wait)),
        leave=lambda: opened.append("left"),
    )
    monkeypatch.setitem(sys.modules, "al_jax.window", stand_in)
    monkeypatch.setattr("al_jax.learner.transfer.AGREES", 0.0)  # the network is as it was drawn
    write_experience(folder / "earlier.npz", carried(3))
    line = call("--stack=stack.npz", "--from=earlier.npz", *QUICK)
    assert line.endswith("(outlines on 2 sections): classes background, outer, middle; new: inner")
    assert opened == [("s", False), "left"]
    assert sessions.read_session("s").earlier.names[-1] == "another"


def carried(knows: int) -> Experience:
    """Of an earlier stack with so many of the classes, where each had two outlines of 30 px."""
    names = (*ts.STACK.names[:knows], "another")
    known = np.arange(knows + 1) < knows
    return Experience(
        names=names,
        weights=flat_weights(tiny.weights(tiny.Pixelwise(knows + 1), heads=True)),
        network=network_label(tiny.Pixelwise),
        convention="plain",
        downsampling=1,
        class_layers=("score",),
        lengths=np.stack([np.diag(60.0 * known), np.diag(2.0 * known)]).astype(np.float32),
        offered=np.zeros((2, knows + 1), np.float32),
        dice=np.linspace(0.3, 0.6, knows + 1, dtype=np.float32),
    )


def simulated(config, seed, earlier=None) -> list[tuple[int, int]]:
    """The pairs that a simulation asks, to its end."""
    known = known_of(earlier, ts.STACK.names)
    prepared = prepare(jax.random.key(seed), ts.STACK, config, prior=known)
    adapt = beginning(None, earlier, ts.STACK.names)
    network = runner.train_network(prepared, config, adapt=adapt)
    records = runner.run_strategy(SEr, prepared, network, config)[1]
    pairs = zip(records.section[1:], records.structure[1:], strict=True)
    return [(int(section), int(structure)) for section, structure in pairs]


@pytest.mark.parametrize("width, downsampling", [(14, 1), (4, 2)])
@pytest.mark.slow
def test_a_rehearsal_that_waits_asks_what_a_simulation_asks_to_the_end(
    folder, monkeypatch, width, downsampling
):
    monkeypatch.setattr(resolution, "WIDTH", width)  # both find by themselves what suits the stack
    judge = rehearse.Judge(ts.STACK, ts.CONFIG)
    rehearse.begin(folder / "start", judge, 1)
    shutil.copytree(folder / "start", folder / "late")
    with sessions.open_session(folder / "start") as session:
        trace = rehearse.rehearse(session, judge, wait=True)
        assert session.network.downsampling == downsampling
    expected = simulated(ts.CONFIG, 1)
    assert [tuple(pair) for pair in trace.pairs.tolist()] == expected
    assert len(expected) > 5
    with sessions.open_session(folder / "late") as session:
        late = rehearse.rehearse(session, judge, wait=False)
    # Both begin with one network: the first question is the same, and the last Dice is not asked.
    assert late.pairs[0].tolist() == trace.pairs[0].tolist()
    assert late.dice[-1] == pytest.approx(1, abs=0.02) or len(late.pairs) > 5


@pytest.mark.slow
def test_a_session_of_the_shipped_stack_asks_what_a_simulation_asks(folder, monkeypatch):
    monkeypatch.undo()
    stack, config = load_default(), sessions.Settings().config
    judge = rehearse.Judge(stack, config)
    rehearse.begin(folder / "session", judge, 0)
    with sessions.open_session(folder / "session") as session:
        trace = rehearse.rehearse(session, judge, wait=True)
    prepared = prepare(jax.random.key(0), stack, config)
    prepared = with_fields(prepared, make_fields(stack))
    network = runner.train_network(prepared, config)
    records = runner.run_strategy(SEr, prepared, network, config)[1]
    np.testing.assert_array_equal(trace.pairs[:, 0], records.section[1:])
    np.testing.assert_array_equal(trace.pairs[:, 1], records.structure[1:])


@pytest.mark.slow
def test_a_folder_that_may_not_be_written_or_read():
    # Not in pytest's own folder, which pytest keeps from other users.
    with tempfile.TemporaryDirectory() as folder:
        refused_to_others(pathlib.Path(folder))


def refused_to_others(folder):
    session = ts.create(folder / "s")
    scratch = folder / "scratch"
    scratch.mkdir()
    scratch.chmod(0o777)
    command = [sys.executable, "-m", "experiments.annotate", "skip", f"--workdir={session}"]
    command += ["--section=1", "--structure=outer"]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv to be another user")
        folder.chmod(0o755)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *command]
    for path in session.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    places = dict.fromkeys(("HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME"), str(scratch))
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | places
    for mode, says in (
        (0o555, "Permission denied; choose another --workdir"),
        (0, "may not be read"),
    ):
        session.chmod(mode)
        ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
        assert ran.returncode == 2, ran.stderr
        # A slow machine says first that matplotlib looks for fonts, in its new home.
        assert ran.stderr.splitlines()[-1].startswith(f"error: {session}: {says}"), ran.stderr
        assert "Traceback" not in ran.stderr
    session.chmod(0o755)
    assert (session / "ledger.jsonl").read_bytes() == b""
