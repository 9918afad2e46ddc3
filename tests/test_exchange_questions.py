"""The folders of questions: what a person changed stays, and none is taken for another."""

import os
import shutil

import numpy as np
import pytest
from test_exchange import TABLE, ask

from al_jax.core.names import called
from al_jax.core.stack import InputError
from al_jax.exchange import questions
from al_jax.exchange.export import section_files
from al_jax.exchange.questions import (
    Origin,
    digest_of_events,
    folder_of,
    latest,
    next_numbers,
    not_ours,
    question_name,
    read_manifest,
    read_shown,
    write_question,
)


def write(folder, formats=("png",), number=1, settled=0, **changes):
    """The folder that a question is written into."""
    question, _ = ask(3)
    origin = Origin(number, events=5, history="a", sections=6, settled=settled)
    return write_question(folder, question._replace(**changes), TABLE, formats, origin=origin)[
        0
    ].parent


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("template.png", ["template.png"]),
        ("traced.png", ["traced.png"]),
        ("notes.txt", ["notes.txt"]),
        ("shown.npz", ["shown.npz"]),
        ("deep", ["deep"]),
        ("question.json", None),
        (".DS_Store", []),
        (None, []),
    ],
)
def test_what_a_person_changed_or_added_stays(change, kept, tmp_path):
    first = write(tmp_path / "q")
    if change == "deep":
        (first / "deep").mkdir()
    elif change is not None:
        (first / change).write_bytes(b"mine")
    before = {path: path.read_bytes() for path in first.iterdir() if path.is_file()}
    for number in (2, 3):
        again = write(tmp_path / "q", number=number)
        assert (again == first) == (kept == [])
        assert again.name == ("q" if kept == [] else "q_2")  # which is ours: it is written again
    if kept is None:  # what the others were is not known any more
        assert set(not_ours(first)) == {path.name for path in before}
    else:
        assert not_ours(first) == kept
    if kept != []:
        assert {path: path.read_bytes() for path in before} == before
    assert read_manifest(again).origin == Origin(3, 5, "a", 6)


@pytest.mark.parametrize("before", [False, True])
def test_what_a_writer_left_that_was_stopped_is_no_person_s(before, tmp_path, monkeypatch):
    if before:
        write(tmp_path / "q", asked=1.0)
    held = len(os.listdir(tmp_path / "q")) if before else 0
    put, left = questions.write_atomic, iter(range(99))

    def stop(path, data):
        if next(left) == last:
            raise KeyboardInterrupt
        put(path, data)

    for last in (0, 1, 2, 5):
        monkeypatch.setattr(questions, "write_atomic", stop)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "q", number=2 + last, asked=2.0 + last)
        monkeypatch.setattr(questions, "write_atomic", put)
        left = iter(range(99))
        assert not_ours(tmp_path / "q") == []
        assert write(tmp_path / "q", number=9, asked=9.0).name == "q"
    assert not list(tmp_path.glob("q/.*")) and held in (0, len(os.listdir(tmp_path / "q")))
    shutil.rmtree(tmp_path / "q")
    monkeypatch.setattr(questions, "write_atomic", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "q")
    monkeypatch.setattr(questions, "write_atomic", put)
    (tmp_path / "q" / "classes.csv").write_bytes(b"mine")
    assert not_ours(tmp_path / "q") == ["classes.csv"] and write(tmp_path / "q").name == "q_2"


def test_a_folder_is_written_anew_as_a_whole_or_not_at_all(tmp_path):
    both = write(tmp_path / "q", ("png", "tiff"))
    assert write(tmp_path / "q", ("png",)).name == "q_2"
    assert write(tmp_path / "q", ("png", "tiff")) == both
    (both / "template.tif").unlink()  # taken away, not changed
    assert write(tmp_path / "q", ("png", "tiff")) == both


def test_digests_are_of_every_file(tmp_path):
    folder = write(tmp_path / "q", ("png", "nifti"))
    written = read_manifest(folder).written
    assert set(written) == {path.name for path in folder.iterdir()} - {"question.json"}


@pytest.mark.parametrize("times", [(1, 2, 3), (3, 2, 1), (1, 1, 1)])
def test_the_latest_is_the_one_with_the_highest_number(times, tmp_path):
    """Names, times of files and a clock that was set back say nothing."""
    assert latest(tmp_path) is None and next_numbers(tmp_path) == (1, 0)
    for name, when, asked in zip("bca", times, (9.0, 8.0, 7.0), strict=True):
        folder = write(tmp_path / name, number=next_numbers(tmp_path)[0], asked=asked)
        os.utime(folder / "question.json", (when, when))
    assert latest(tmp_path).path.parent.name == "a" and next_numbers(tmp_path) == (4, 0)
    shutil.rmtree(tmp_path / "b")
    assert latest(tmp_path).path.parent.name == "a" and next_numbers(tmp_path) == (4, 0)


def test_which_of_two_machines_asked_last_is_not_known(tmp_path):
    """Both went on from question 1, each for itself, and their folders were put together."""
    write(tmp_path / "a", number=1)
    write(tmp_path / "b", number=2, structure=1, asked=9.0)
    write(tmp_path / "c", number=2, asked=8.0)
    with pytest.raises(InputError, match=r"/b, \S+/c were asked by copies .* by --question"):
        latest(tmp_path)
    write(tmp_path / "d", number=3)  # one of them had gone on by then
    with pytest.raises(InputError, match="both as its question 2"):
        latest(tmp_path)
    number, settled = next_numbers(tmp_path)
    assert (number, settled) == (5, 2)
    write(tmp_path / "e", number=number, settled=settled)
    assert latest(tmp_path).path.parent.name == "e"
    shutil.copytree(tmp_path / "e", tmp_path / "e - Kopie")  # the same question
    assert latest(tmp_path).section == 3 and next_numbers(tmp_path)[1] == 2


def test_a_damaged_question_is_named_with_ways_out(tmp_path):
    for name in "ab":
        write(tmp_path / name, number=next_numbers(tmp_path)[0])
    (tmp_path / "a" / "question.json").write_text("{")
    with pytest.raises(InputError, match=r"a/question.json: .* by --question, or move \S+/a away"):
        latest(tmp_path)
    assert next_numbers(tmp_path) == (3, 0)
    shutil.move(tmp_path / "a", tmp_path.parent / "away")
    assert latest(tmp_path).path.parent.name == "b"


def test_a_file_lies_in_the_folder_of_a_question_however_deep(tmp_path):
    folder = write(tmp_path / "q")
    assert folder_of(folder / "a.png") == folder_of(folder / "x" / "y" / "a.png") == folder
    assert folder_of(tmp_path / "a.png") is None
    (tmp_path / "link").symlink_to(folder)
    assert folder_of(tmp_path / "link" / "a.png") in (folder, tmp_path / "link")
    (tmp_path / "answer.png").symlink_to(folder / "template.png")
    assert folder_of(tmp_path / "answer.png") == folder


def test_questions_of_other_programs_are_none(tmp_path):
    for content, found in [
        (b'{"question": "why"}', None),
        (b"[]", None),
        (b'\xef\xbb\xbf{"al_jax": 1}', None),
        (b'{"al_jax_question": 1', tmp_path),  # damaged: nobody knows of what
        (b"", tmp_path),
    ]:
        (tmp_path / "question.json").write_bytes(content)
        assert folder_of(tmp_path / "answer.png") == found
    shutil.move(tmp_path / "question.json", write(tmp_path / "q") / "deep.json")
    (tmp_path / "q" / "deep").mkdir()
    (tmp_path / "q" / "deep" / "question.json").write_text("{}")
    assert folder_of(tmp_path / "q" / "deep" / "answer.png") == tmp_path / "q"


def test_what_was_shown_comes_back(tmp_path):
    question, _ = ask(3)
    proposal, network = read_shown(read_manifest(write(tmp_path / "a", network=7)))
    np.testing.assert_array_equal(proposal, question.proposal)
    assert network == 7
    assert read_shown(read_manifest(write(tmp_path / "b", proposal=None))) == (None, 0)


def test_names_of_folders_tell_pairs_apart_and_fit():
    names = [
        "layer 2/3",
        "layer 2+3",
        "layer 2:3",
        "皮" * 90,
        "皮" * 90 + "a",
        "x" * 251,
        "..",
        "é",
    ]
    folders = [question_name(4999, number, name) for number, name in enumerate(names)]
    assert len({name.casefold() for name in folders}) == len(names)
    assert all(len(name.encode()) < 80 and "/" not in name for name in folders)
    assert question_name(3, 7, "e\N{COMBINING ACUTE ACCENT}") == question_name(3, 7, "é")
    files = section_files(["皮" * 80 + ".png", "x" * 240 + ".tif", "s 1.png"])
    assert all(len(name.encode()) < 80 for name in files) and files[2] == "2_s_1"


def test_sessions_are_told_apart_by_their_events():
    events = [{"number": 1, "event": "skip", "time": "x"}, {"number": 2, "event": "note"}]
    assert digest_of_events(events[:1]) != digest_of_events(events)
    assert digest_of_events(events) == digest_of_events([dict(sorted(e.items())) for e in events])


def test_names_of_classes_are_alike_but_for_form_spaces_and_case():
    names = ("background", "Noyau caudé", "Ca", "CA", "a b")
    for given in ("Noyau caude\N{COMBINING ACUTE ACCENT}", "noyau\N{NO-BREAK SPACE}caudé"):
        assert called(given, names) == "Noyau caudé"
    assert called(" a  b", names) == "a b" and called("CA", names) == "CA"
    assert called("ca", names) == "ca" and called("nose", names) == "nose"
