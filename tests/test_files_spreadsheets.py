"""Tables for people: no cell is a formula, and each is read as the name it was."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_jax.commands import runs
from al_jax.core.stack import make_images
from al_jax.exchange.classes import make_classes, tables
from al_jax.exchange.export import export_stack
from al_jax.files.spreadsheets import as_name, as_text, table
from al_jax.files.tables import read_table
from al_jax.session import ranges
from al_jax.session.results import Answered, Export
from al_jax.session.storage import table_of_classes

FORMULAS = ('=HYPERLINK("http://x","y")', "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "'=quoted")
NAMES = ("background", *FORMULAS, "'t Hart", "a=b", "-1.5")
STARTS = ("=", "+", "-", "@", "\t", "\r")


def cells(data: bytes) -> list[str]:
    return [cell for row in csv.reader(io.StringIO(data.decode(), newline="")) for cell in row]


def is_formula(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return cell.startswith(STARTS)
    return False


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00")) | st.text("'=+-@\t1 "))
def test_every_cell_comes_back_and_none_is_a_formula(text):
    written = as_text(text)
    assert not is_formula(written)
    # What was written by hand with a quotation mark before a formula means the formula.
    assert as_name(written) == text


def test_numbers_are_numbers():
    assert table([("a", -1), (-1.5, "-2"), (None, "")]) == b'a,-1\n-1.5,-2\n"",\n'.replace(
        b'""', b""
    )


@pytest.fixture
def images():
    sections = ("=s1.png", "s2.png", "-s3.png")
    return make_images(np.zeros((3, 4, 4), np.uint8), NAMES, sections=sections)


def test_classes(images, tmp_path):
    for data in (table_of_classes(images), tables(make_classes(NAMES))["classes.csv"]):
        assert not any(map(is_formula, cells(data)))
        (tmp_path / "classes.csv").write_bytes(data)
        assert read_table(tmp_path / "classes.csv").names == NAMES


def test_ranges(images, tmp_path):
    in_range = np.ones((3, len(NAMES)), bool)
    in_range[0, 2], in_range[2, 3] = False, False
    data = ranges.table_of_ranges(in_range, images)
    assert not any(map(is_formula, cells(data)))
    (tmp_path / "ranges.csv").write_bytes(data)
    found = ranges.in_range_of(ranges.read_ranges(tmp_path / "ranges.csv"), images)
    np.testing.assert_array_equal(found, in_range)


def test_an_export(images, tmp_path):
    values = dict.fromkeys(Answered._fields, 1.0) | {"section": 0, "structure": 1, "kind": "traced"}
    export = Export(
        traced=np.full((3, 4, 4), -1, np.int16),
        segmentation=None,
        confidence=None,
        names=images.names,
        sections=images.sections,
        answers=[Answered(**values)],
    )
    export_stack(tmp_path, export, ["png"])
    for path in tmp_path.glob("*.csv"):
        assert not any(map(is_formula, cells(path.read_bytes()))), path
    rows = list(csv.DictReader(io.StringIO((tmp_path / "answers.csv").read_text())))
    assert as_name(rows[0]["section_name"]) == "=s1.png"
    assert as_name(rows[0]["structure_name"]) == NAMES[1]


def test_the_digest_of_an_experience_holds_all_of_it():
    from test_transfer import EARLIER

    changes = {
        "names": ("background", "a", "c"),
        "network": "unet",
        "convention": "caffe",
        "downsampling": 2,
        "class_layers": ("score", "score2"),
        "lengths": EARLIER.lengths + 1,
        "offered": EARLIER.offered + 1,
        "dice": EARLIER.dice + 0.1,
        "weights": {f"{key}x": value for key, value in EARLIER.weights.items()},
    }
    assert changes.keys() == set(EARLIER._fields)
    others = [EARLIER._replace(**{key: value}) for key, value in changes.items()]
    others.append(EARLIER._replace(weights={k: v + 1 for k, v in EARLIER.weights.items()}))
    digests = {runs.digest_experience(one) for one in (EARLIER, *others)}
    assert len(digests) == len(others) + 1
    again = EARLIER._replace(weights=dict(reversed(EARLIER.weights.items())))
    assert runs.digest_experience(again) == runs.digest_experience(EARLIER)
