"""Questions, answers and exports as files that people copy, change and mix up, by commands."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tiny_session as ts
from commands import caller, flags_of
from PIL import Image

from al_jax import session as sessions
from al_jax.commands import annotate
from al_jax.core.stack import make_images
from al_jax.exchange.classes import make_classes
from al_jax.exchange.polygons import to_geojson
from al_jax.session import Settings

OUTER, MIDDLE = 1, 2


@pytest.fixture(scope="module", autouse=True)
def own_flags():
    with flags_of(annotate):
        yield


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """A session in which nothing was asked yet."""
    return ts.create(tmp_path_factory.mktemp("new") / "s")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, new):
    """The working directory, with a session of its own in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(new, "s")
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch, capsys):
    command = caller(annotate, monkeypatch, capsys)
    return lambda word, *more, workdir="s": command(word, f"--workdir={workdir}", *more)


@pytest.fixture
def call(run):
    """What a command prints, as JSON."""

    def good(*arguments: str, **more):
        status, out, err = run(*arguments, "--json", **more)
        assert status == 0, err
        return json.loads(out)

    return good


@pytest.fixture
def refused(run):
    """Asserts that a command refuses and stores nothing; its line."""

    def bad(*arguments: str, workdir="s") -> str:
        ledger = pathlib.Path(workdir, "ledger.jsonl")
        before = ledger.read_bytes()
        status, out, err = run(*arguments, workdir=workdir)
        assert (status, out) == (2, "") and err.count("\n") == 1, err
        assert ledger.read_bytes() == before
        return err

    return bad


@pytest.fixture
def ask(call):
    """The folder of the question of a pair."""

    def of(section: int, name: str, *more: str, **options) -> pathlib.Path:
        asked = call("suggest", f"--section={section}", f"--structure={name}", *more, **options)
        assert asked["section"] == section
        return pathlib.Path(asked["files"][0]).parent

    return of


def mask(path, section: int, structure: int) -> str:
    Image.fromarray(255 * ts.truth(section, structure).astype(np.uint8)).save(path)
    return f"--answer={path}"


def pairs(workdir="s"):
    events = sessions.read_session(workdir).events
    return [(e["section"], e["structure"]) for e in events if e["event"] == "answer"]


def stored(section: int, workdir="s"):
    return sessions.read_session(workdir).annotations.labels[section]


def test_what_a_person_changed_in_a_question_stays(call, ask):
    first = ask(2, "outer")
    template = first / "template.png"
    Image.fromarray(np.where(ts.truth(2, OUTER), 2, 0).astype(np.uint8)).save(template)
    before = template.read_bytes()
    again = call("suggest", "--section=2", "--structure=outer")
    assert pathlib.Path(again["files"][0]).parent != first and again["kept"] == [str(template)]
    assert template.read_bytes() == before
    call("ingest", f"--answer={template}")  # of the earlier question, as it lies there
    np.testing.assert_array_equal(stored(2) == OUTER, ts.truth(2, OUTER))


def test_the_latest_question_is_told_by_its_number(ask, call):
    """Copies, archives and clocks change the times of files, not what was asked last."""
    for when, section in ((2, 4), (3, 1), (1, 3)):
        os.utime(ask(section, "outer") / "question.json", (when, when))
    shutil.copytree("s", "laptop")
    call("ingest", mask("m.png", 3, OUTER), workdir="laptop")
    assert pairs("laptop") == [(3, "outer")] and not pairs()


def test_questions_from_before_numbers_go_by_when_they_were_asked(ask, call, refused):
    asked = [ask(section, "outer") for section in (4, 1, 3)]
    for number, place in enumerate(asked):
        content = json.loads((place / "question.json").read_text())
        for name in ("number", "asked", "events", "history", "sections", "written"):
            del content[name]
        (place / "question.json").write_text(json.dumps(content))
        with np.load(place / "shown.npz") as archive:
            shown = dict(archive) | {"asked": 100.0 + (number == 1)}
        np.savez(place / "shown.npz", **shown)
        place.rename(place.with_name(f"{number}_outer"))
    call("ingest", mask("m.png", 1, OUTER))
    assert pairs() == [(1, "outer")]
    assert "has been answered" in refused("ingest", "--answer=m.png")
    assert json.loads((ask(5, "outer") / "question.json").read_text())["number"] == 4
    call("ingest", mask("m.png", 5, OUTER), "--sure")
    assert pairs() == [(1, "outer"), (5, "outer")]


def test_an_answer_in_the_folder_of_a_question_is_of_that_one(ask, call, refused):
    first, latest = ask(1, "outer"), ask(4, "outer")
    (first / "deep" / "er").mkdir(parents=True)
    inside = mask(first / "deep" / "er" / "Answer 1.tif", 1, OUTER)
    line = refused("ingest", inside, f"--question={latest}")
    assert "lies in the folder of another question" in line
    call("ingest", inside)
    assert pairs() == [(1, "outer")]
    assert "has been answered" in refused("ingest", inside)
    call("ingest", inside, f"--question={first}")  # a correction
    call("ingest", mask("m.png", 4, OUTER))  # the latest is as it was
    assert pairs() == [(1, "outer"), (1, "outer"), (4, "outer")]


def test_questions_and_answers_of_another_session_are_refused(ask, call, refused):
    ask(1, "outer")
    shutil.copytree("s", "other")
    call("absent", "--section=5", "--structure=inner", workdir="other")
    other = ask(2, "outer", workdir="other")  # by now the sessions differ
    line = refused("ingest", mask("m.png", 2, OUTER), f"--question={other}")
    assert "is a question of another session" in line
    inside = mask(other / "answer.png", 2, OUTER)
    line = refused("ingest", inside)
    assert "'outer' on section 2" in line and "suggest --workdir=s with --section" in line
    own = ask(2, "outer")  # as the line says
    ask(4, "outer")
    call("ingest", inside, f"--question={own}")
    assert pairs() == [(2, "outer")]
    call("undo")
    shutil.copytree(other, "mailed")  # and back to the session that asked
    call("ingest", "--answer=m.png", "--question=mailed", workdir="other")
    assert pairs("other") == [(2, "outer")]


def test_an_answer_in_a_question_that_was_carried_elsewhere(ask, call, refused):
    """On a stick, to another machine; the copy of the session that it came from is none other."""
    shutil.copytree(ask(2, "outer"), "stick/0001")
    call("absent", "--section=5", "--structure=inner")
    ask(4, "outer")
    inside = mask("stick/0001/answer.png", 2, OUTER)
    call("ingest", inside)
    assert pairs() == [(2, "outer")]
    assert "has been answered" in refused("ingest", inside)
    shutil.copytree("s", "laptop")
    call("ingest", mask(ask(3, "outer", workdir="laptop") / "answer.png", 3, OUTER))
    assert pairs() == [(2, "outer"), (3, "outer")]


def test_questions_that_two_machines_asked_with_one_number(ask, call, refused):
    ask(1, "outer")
    shutil.copytree("s", "laptop")
    theirs, own = ask(2, "outer", workdir="laptop"), ask(4, "outer")
    shutil.copytree(theirs, f"s/questions/{theirs.name}")
    line = refused("ingest", mask("m.png", 2, OUTER))
    assert str(own) in line and theirs.name in line and "--question" in line
    call("ingest", "--answer=m.png", f"--question=s/questions/{theirs.name}")
    ask(3, "outer")  # after both
    call("ingest", mask("m.png", 3, OUTER))
    assert pairs() == [(2, "outer"), (3, "outer")]


def test_what_was_taken_back_was_not_answered(ask, call, refused):
    ask(2, "outer")
    answer = mask("m.png", 2, OUTER)
    for _ in range(2):
        call("ingest", answer)
        assert "has been answered" in refused("ingest", answer)
        call("undo")
    call("absent", "--section=2", "--structure=outer")
    assert "has been answered" in refused("ingest", answer)
    call("undo")
    call("ingest", answer)
    assert pairs() == [(2, "outer")] * 3


def test_every_class_has_a_folder_of_its_own(ask, call, folder):
    names = ("layer 2/3", "layer 2+3", "皮" * 90)
    images = make_images(ts.STACK.images, ("background", *names), ts.STACK.inside)
    sessions.create("named", images, np.ones((6, 4), bool), Settings(0, ts.CONFIG))
    asked = [ask(3, name, workdir="named") for name in names]
    assert len(set(asked)) == 3 and {p.parent for p in asked} == {pathlib.Path("named/questions")}
    assert max(len(place.name.encode()) for place in asked) < 100
    for number in (1, 0):
        call("ingest", mask(asked[number] / "mine.png", 3, number + 1), workdir="named")
    assert pairs("named") == [(3, names[number]) for number in (1, 0)]


@pytest.mark.parametrize("when", ["suggest", "ingest"])
def test_outlines_that_were_drawn_on_the_slide(when, ask, call, refused):
    pytest.importorskip("rasterio", reason="pip install '.[annotate]'")
    ids = np.where(ts.truth(2, OUTER), 2, 0)
    classes = make_classes(ts.STACK.names)
    pathlib.Path("slide.geojson").write_bytes(to_geojson(ids, classes, 4.0))
    factor = ("--downsample=4",)
    place = ask(2, "outer", "--formats=geojson", *(factor if when == "suggest" else ()))
    assert json.loads((place / "question.json").read_text())["downsample"] == (
        4 if when == "suggest" else 1
    )
    if when == "ingest":
        assert "(--downsample)" in refused("ingest", "--answer=slide.geojson")
        assert "--downsample has no effect" in refused("ingest", mask("m.png", 2, 1), *factor)
        assert "--downsample=0: give" in refused("ingest", "--answer=m.png", "--downsample=0")
    call("ingest", "--answer=slide.geojson", *(factor if when == "ingest" else ()))
    np.testing.assert_array_equal(stored(2) == OUTER, ts.truth(2, OUTER))


def test_an_answer_that_looks_odd_is_stored_when_somebody_is_sure(ask, call, refused):
    ask(2, "middle")
    inverted = (255 * ~ts.truth(2, MIDDLE)).astype(np.uint8)
    Image.fromarray(inverted).save("inverted.png")
    line = refused("ingest", "--answer=inverted.png")
    assert "holds all corners" in line and "--sure" in line and "'middle' on section 2" in line
    assert "--sure has no effect with suggest" in refused("suggest", "--sure")
    assert "--downsample has no effect with train" in refused("train", "--downsample=2")
    call("ingest", "--answer=inverted.png", "--sure")
    assert pairs() == [(2, "middle")]


def tree(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_export_replaces_nothing_that_no_export_wrote(refused, call, folder):
    for name in ("classes.csv", "ranges.csv", "report.html"):
        own = folder / "mine" / name
        own.parent.mkdir(exist_ok=True)
        own.write_text("mine")
        line = refused("export", "--out=mine")
        assert name in line and "choose another --out" in line
        assert tree(folder / "mine") == {name: b"mine"}
        own.unlink()
    made = call("export", "--out=mine")
    assert set(tree(folder / "mine")) == {str(pathlib.Path(f).name) for f in made["files"]} - {
        f"{n}_{n}.png" for n in range(6)
    } | {f"traced_png/{n}_{n}.png" for n in range(6)}
    call("absent", "--section=2", "--structure=outer")
    assert len(call("export", "--out=mine", "--formats=tiff")["removed"]) == 6
