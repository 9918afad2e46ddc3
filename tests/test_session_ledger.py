"""The ledger and its masks: whole or not there, whatever happens to the disk."""

import json
import resource

import numpy as np
import pytest

from al_jax.core.stack import InputError
from al_jax.session import ledger


@pytest.fixture
def folder(tmp_path):
    (tmp_path / ledger.LEDGER).touch()
    (tmp_path / ledger.MASKS).mkdir()
    return tmp_path


def note(number: int, text: str = "x") -> dict:
    return {"number": number, "event": "note", "text": text}


def events_of(folder) -> list[dict]:
    return ledger.read_ledger(folder)[0]


def add(folder, *events: dict) -> None:
    """Appends as a session does that has just been opened."""
    ledger.append(folder, events, ledger.read_ledger(folder)[1])


def test_what_was_appended_is_read(folder):
    assert events_of(folder) == []
    end = ledger.append(folder, [note(1, "Größe\nµm"), note(2)], ledger.End())
    assert end == ledger.read_ledger(folder)[1]
    end = ledger.append(folder, [note(3)], end)
    assert end == ledger.read_ledger(folder)[1] and not ledger.notices(folder, [], end)
    assert events_of(folder) == [note(1, "Größe\nµm"), note(2), note(3)]


@pytest.mark.parametrize("cut", [2, 7, 20])
def test_half_a_line_is_no_event_and_is_noted(folder, cut):
    add(folder, note(1), note(2))
    path = folder / ledger.LEDGER
    path.write_bytes(path.read_bytes()[:-cut])
    events, end = ledger.read_ledger(folder)
    assert events == [note(1)]
    (said,) = ledger.notices(folder, events, end)
    assert "ledger.jsonl: " in said and "not finished" in said and "the last event is 1" in said
    end = ledger.append(folder, [note(2, "again")], end)
    assert events_of(folder) == [note(1), note(2, "again")]
    assert path.read_bytes().count(b"\n") == 2 and not ledger.notices(folder, events, end)


TRIMMED = {
    "no newline": lambda data: data[:-1],
    "blank line": lambda data: data + b"\n",
    "blank lines between": lambda data: data.replace(b"\n", b"\n\n  \n"),
    "of Windows": lambda data: data.replace(b"\n", b"\r\n"),
    "of Windows, cut": lambda data: data.replace(b"\n", b"\r\n")[:-1],
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "spaces at the end": lambda data: data[:-1] + b"  ",
    "form of before": lambda data: data.replace(b'"form": 1, ', b""),
}


@pytest.mark.parametrize("how", TRIMMED)
def test_what_editors_and_synchronisers_do_to_the_ends_of_lines(folder, how):
    add(folder, note(1), note(2))
    path = folder / ledger.LEDGER
    path.write_bytes(TRIMMED[how](path.read_bytes()))
    events, end = ledger.read_ledger(folder)
    assert events == [note(1), note(2)] and ledger.notices(folder, events, end) == []
    end = ledger.append(folder, [note(3)], end)
    assert ledger.read_ledger(folder) == ([note(1), note(2), note(3)], end)
    ledger.append(folder, [note(4)], end)
    assert events_of(folder) == [note(1), note(2), note(3), note(4)]


@pytest.mark.parametrize(
    "line", ["{", "[]", "7", '{"number": 3}', '{"number": 2, "event": "?"}', json.dumps(note(4))]
)
@pytest.mark.parametrize("last", [False, True])
def test_a_line_that_was_changed(folder, line, last):
    add(folder, *map(note, range(1, 3 if last else 4)))
    path = folder / ledger.LEDGER
    lines = path.read_text().splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + ("" if last and line != "{" else "\n"))
    with pytest.raises(InputError, match="line 2 is not event 2"):
        ledger.read_ledger(folder)


def test_a_line_of_a_newer_version(folder):
    add(folder, note(1))
    path = folder / ledger.LEDGER
    path.write_text(path.read_text().replace('"form": 1', '"form": 2'))
    with pytest.raises(InputError, match="line 1 is of a newer version; use that one"):
        ledger.read_ledger(folder)


def test_a_full_disk_keeps_what_was_there(folder):
    add(folder, note(1))
    before, end = (folder / ledger.LEDGER).read_bytes(), ledger.read_ledger(folder)[1]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, hard))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(File too large\), nothing was"):
            ledger.append(folder, [note(2)], end)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / ledger.LEDGER).read_bytes() == before
    ledger.append(folder, [note(2)], end)
    assert events_of(folder) == [note(1), note(2)]


def test_a_second_writer_is_noticed(folder):
    """Whoever comes second stores nothing: no number is there twice, and no line is cut."""
    add(folder, note(1))
    one = other = ledger.read_ledger(folder)[1]
    one = ledger.append(folder, [note(2, "mine")], one)
    for _ in range(2):
        with pytest.raises(InputError, match="has changed since this session was opened"):
            ledger.append(folder, [note(2, "yours")], other)
    ledger.append(folder, [note(3)], one)
    assert events_of(folder) == [note(1), note(2, "mine"), note(3)]


def test_a_ledger_that_was_changed_or_cut_behind_the_session_is_noticed(folder):
    add(folder, note(1), note(2))
    path, end = folder / ledger.LEDGER, ledger.read_ledger(folder)[1]
    whole = path.read_bytes()
    for other in (whole.replace(b'"x"', b'"y"'), whole[:-5], whole + whole, b""):
        path.write_bytes(other)
        with pytest.raises(InputError, match="open the session again"):
            ledger.append(folder, [note(3)], end)
        assert path.read_bytes() == other
    path.unlink()
    with pytest.raises(InputError, match="cannot be written"):
        ledger.append(folder, [note(3)], end)


COPIES = [
    "ledger.sync-conflict-20260105-101112-ABCDEFG.jsonl",
    "ledger (X's conflicted copy 2026-01-05).jsonl",
    "ledger (conflicted copy 2026-01-05 101112).jsonl",
    "ledger_conflict-20260105-101112.jsonl",
    "ledger-HOST.jsonl",
    "ledger (1).jsonl",
    "ledger 2.jsonl",
    "ledger - Kopie.jsonl",
    "Copy of ledger.jsonl",
    "ledger (SFConflict a@b.org 2026-01-05-10-11-12).jsonl",
    "ledger.jsonl.conflict",
]


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_in_conflict_is_noted(folder, name):
    add(folder, note(1), note(2))
    (folder / name).write_bytes((folder / ledger.LEDGER).read_bytes())
    add(folder, note(3))
    read = ledger.read_ledger(folder)
    (said,) = ledger.notices(folder, *read)
    assert name in said and "without any event that ledger.jsonl lacks" in said
    with open(folder / name, "ab") as file:
        file.write(json.dumps(note(3, "of another machine")).encode())
    (said,) = ledger.notices(folder, *read)
    assert name in said and "in conflict" in said and "with 1 events that" in said


def test_another_file_by_the_name_of_the_ledger_in_capitals(folder):
    """Where capitals are one, that is the ledger itself."""
    add(folder, note(1))
    (folder / "Ledger.JSONL").touch()
    alike = len(list(folder.glob("*.[jJ]*"))) == 1
    assert len(ledger.notices(folder, *ledger.read_ledger(folder))) == (0 if alike else 1)
    (folder / "Ledger.JSONL").unlink()
    (folder / "LEDGER.jsonl").hardlink_to(folder / ledger.LEDGER)
    assert ledger.notices(folder, *ledger.read_ledger(folder)) == []


def test_a_missing_ledger_names_what_lies_there_instead(folder):
    (folder / ledger.LEDGER).unlink()
    with pytest.raises(InputError, match=r"ledger\.jsonl: there is no such file"):
        ledger.read_ledger(folder)
    for name in ("ledger (1).jsonl", "LEDGER-HOST.jsonl"):
        (folder / name).touch()
    said = r"is missing, but there is LEDGER-HOST.jsonl, ledger \(1\).jsonl; rename the one that"
    with pytest.raises(InputError, match=said):
        ledger.read_ledger(folder)


@pytest.mark.parametrize("text", ["Ger\udce4t", "\ud800", b"x", np.int64(4)])
def test_what_is_no_text_is_refused_before_anything_is_written(folder, text):
    add(folder, note(1))
    before = (folder / ledger.LEDGER).read_bytes()
    with pytest.raises(InputError, match="no text"):
        ledger.append(folder, [note(2, text)], ledger.read_ledger(folder)[1])
    assert (folder / ledger.LEDGER).read_bytes() == before


def test_what_is_no_copy_of_the_ledger_is_not_noted(folder):
    for name in (".ledger.jsonl.swp", "notes.txt", "session.json", "classes.csv"):
        (folder / name).touch()
    (folder / "ledger.jsonl.d").mkdir()
    assert ledger.notices(folder, *ledger.read_ledger(folder)) == []


def test_masks_are_named_by_their_pixels(folder):
    mask = np.random.default_rng(0).random((7, 13)) < 0.5
    name = ledger.store_mask(folder, mask)
    assert name == ledger.store_mask(folder, mask)
    np.testing.assert_array_equal(ledger.read_mask(folder, name), mask)
    # The same bits in another shape are another mask.
    assert ledger.digest(mask.T) != name != ledger.digest(mask.reshape(13, 7))
    assert [path.name for path in (folder / ledger.MASKS).iterdir()] == [f"{name}.png"]


def test_a_damaged_mask_is_written_again(folder):
    """A power cut, or half a copy, left the file; the same answer is given again."""
    mask = np.eye(5, dtype=bool)
    path = folder / ledger.MASKS / f"{ledger.store_mask(folder, mask)}.png"
    path.write_bytes(b"")
    np.testing.assert_array_equal(ledger.read_mask(folder, ledger.store_mask(folder, mask)), mask)


def test_a_mask_that_is_missing_damaged_or_another(folder):
    mask = np.eye(5, dtype=bool)
    name = ledger.store_mask(folder, mask)
    path = folder / ledger.MASKS / f"{name}.png"
    other = ledger.store_mask(folder, ~mask)
    good, changed = path.read_bytes(), (folder / ledger.MASKS / f"{other}.png").read_bytes()
    path.write_bytes(changed)
    with pytest.raises(InputError, match=f"{name}.png: holds another mask than its answer"):
        ledger.read_mask(folder, name)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(InputError, match="may be damaged"):
        ledger.read_mask(folder, name)
    path.unlink()
    with pytest.raises(InputError, match="there is no such file"):
        ledger.read_mask(folder, name)


def test_a_folder_of_masks_that_was_not_carried_is_made_again(folder, monkeypatch):
    """Git, rclone and S3 carry no empty folders; the new one is on the disk as its mask is."""
    synced = []
    monkeypatch.setattr(ledger, "to_disk", synced.append)
    (folder / ledger.MASKS).rmdir()
    mask = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(ledger.read_mask(folder, ledger.store_mask(folder, mask)), mask)
    assert synced == [folder]


def test_a_folder_of_masks_that_cannot_be_made(folder):
    (folder / ledger.MASKS).rmdir()
    (folder / ledger.MASKS).symlink_to(folder / "nothing")
    with pytest.raises(InputError, match=r"masks/.*\.png: cannot be written \(File exists\); make"):
        ledger.store_mask(folder, np.eye(5, dtype=bool))
