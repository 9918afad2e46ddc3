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


def test_what_was_appended_is_read(folder):
    assert ledger.read_ledger(folder) == []
    ledger.append(folder, [note(1, "Größe\nµm"), note(2)])
    ledger.append(folder, [note(3)])
    assert ledger.read_ledger(folder) == [note(1, "Größe\nµm"), note(2), note(3)]


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_a_line_that_was_cut_is_no_event(folder, cut):
    ledger.append(folder, [note(1), note(2)])
    path = folder / ledger.LEDGER
    path.write_bytes(path.read_bytes()[:-cut])
    assert ledger.read_ledger(folder) == [note(1)]
    ledger.append(folder, [note(2, "again")])
    assert ledger.read_ledger(folder) == [note(1), note(2, "again")]
    assert path.read_bytes().count(b"\n") == 2


@pytest.mark.parametrize("line", ["", "{", "[]", '{"number": 3}', json.dumps(note(4))])
def test_a_line_in_the_middle_that_was_changed(folder, line):
    ledger.append(folder, [note(1), note(2), note(3)])
    path = folder / ledger.LEDGER
    lines = path.read_text().splitlines()
    lines[1] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="line 2 is not event 2"):
        ledger.read_ledger(folder)


def test_a_full_disk_keeps_what_was_there(folder):
    ledger.append(folder, [note(1)])
    before = (folder / ledger.LEDGER).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, hard))
    try:
        with pytest.raises(InputError, match=r"cannot be written \(File too large\), nothing was"):
            ledger.append(folder, [note(2)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (folder / ledger.LEDGER).read_bytes() == before
    ledger.append(folder, [note(2)])
    assert ledger.read_ledger(folder) == [note(1), note(2)]


def test_masks_are_named_by_their_pixels(folder):
    mask = np.random.default_rng(0).random((7, 13)) < 0.5
    name = ledger.store_mask(folder, mask)
    assert name == ledger.store_mask(folder, mask)
    np.testing.assert_array_equal(ledger.read_mask(folder, name), mask)
    # The same bits in another shape are another mask.
    assert ledger.digest(mask.T) != name != ledger.digest(mask.reshape(13, 7))
    assert [path.name for path in (folder / ledger.MASKS).iterdir()] == [f"{name}.png"]


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
