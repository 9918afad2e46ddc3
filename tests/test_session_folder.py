"""A session on disk: what is written is what is read, whole or not at all."""

import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest
import tiny
import tiny_session as ts

from al_jax.core.stack import InputError, Place, make_images
from al_jax.core.strategies import STRATEGIES, SDr
from al_jax.learner.config import changed
from al_jax.model.augmentation import Table1
from al_jax.session import beginning, ranges, storage
from al_jax.session.storage import Settings


def test_what_was_created_is_read(tmp_path):
    config = changed(
        ts.CONFIG,
        {
            "augmentation": Table1(),
            "alpha": np.float32(0.25),
            "crop": np.int16(64),
            "field": "paper",
        },
    )
    settings = Settings(np.int64(7), config, STRATEGIES["HB"])
    weights = {"a": np.arange(3.0)}
    place = ts.create(tmp_path / "new" / "s", settings=settings, weights=weights)
    found = storage.read(place)
    assert found.settings == settings and hash(found.settings.config) == hash(settings.config)
    np.testing.assert_array_equal(found.images.images, ts.IMAGES.images)
    np.testing.assert_array_equal(found.images.inside, ts.IMAGES.inside)
    np.testing.assert_array_equal(found.in_range, ts.IN_RANGE)
    assert found.images.names == ts.IMAGES.names and found.images.sections == ts.IMAGES.sections
    assert found.images.colours is None and found.weights is not None
    np.testing.assert_array_equal(found.weights["a"], weights["a"])
    np.testing.assert_array_equal(storage.true_mask(place, 2, 1), ts.truth(2, 1))
    assert isinstance(found.images.images, np.memmap)


def test_settings_of_before_one_tree_are_read(tmp_path):
    place = ts.create(tmp_path / "s")
    about = json.loads((place / "session.json").read_text())
    augmentation = {"rotation": 10.0, "scale": [0.8, 1.2], "field": "paper"}
    old = {
        "network": "pixelwise",
        "initial_steps": 8,
        "query_steps": 3,
        "alpha": 0.75,
        "margin": 1,
        "person": {"correct": False, "glance": 5.0, "tremor": 0.0},
        "training": {"reduction": 2, "crop": 32, "batch": 4, "augmentation": augmentation},
    }
    del about["strategy"]
    (place / "session.json").write_text(json.dumps(about | {"config": old}))
    settings = storage.read(place).settings
    assert settings.strategy is SDr and settings.config.network is tiny.Pixelwise
    training, query = settings.config.training, settings.config.query
    assert (training.query_steps, training.downsampling, training.crop) == (3, 2, 32)
    assert training.augmentation.field == "paper" and training.augmentation.scale == (0.8, 1.2)
    assert (query.alpha, query.margin) == (0.75, 1)


@pytest.mark.parametrize("strategy, match", [("mine", "unknown"), ("BDa", "has changed since")])
def test_a_strategy_that_is_not_what_it_was(tmp_path, strategy, match):
    place = ts.create(tmp_path / "s")
    about = json.loads((place / "session.json").read_text())
    about |= {"strategy": strategy, "strategy_digest": "0" * 16}
    (place / "session.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=match):
        storage.read(place)


def test_a_session_needs_no_truth():
    with pytest.raises(InputError, match="needs the truth"):
        Settings(0, ts.CONFIG, STRATEGIES["Oracle"])


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="is not empty; choose another folder"):
        ts.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_systems_put_into_folders_is_nothing(tmp_path):
    place = tmp_path / "s"
    (place / ".stfolder").mkdir(parents=True)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (place / name).write_bytes(b"theirs")
    before = set(os.listdir(place))
    ts.create(place)
    assert storage.read(place).images.names == ts.IMAGES.names
    assert before < set(os.listdir(place))
    beginning._empty(place, stays=True)
    assert set(os.listdir(place)) == before


def test_names_that_were_not_utf_8_when_older_sessions_began(tmp_path):
    sections = ["Schn\udce4tt1.png", "\ud800", *(f"{n}.png" for n in range(2, 6))]
    images = make_images(ts.STACK.images, ts.STACK.names, sections=sections)
    storage.create(tmp_path / "s", images, ts.IN_RANGE, Settings(0, ts.CONFIG))
    found = storage.read(tmp_path / "s").images.sections
    assert found == (r"Schn\udce4tt1.png", r"\ud800", *sections[2:])


def test_a_failure_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "to_disk", full)
    with pytest.raises(InputError, match=r"cannot be made \(No space left on device\)"):
        ts.create(tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(params=["folder", "link", "link to nothing", "mount point", "parent of others"])
def empty(request, tmp_path, monkeypatch):
    """An empty place of every kind, which stays what it is."""
    place = tmp_path / "s"
    if request.param.startswith("link"):
        place.symlink_to("real")
        if request.param == "link":
            (tmp_path / "real").mkdir()
    else:
        place.mkdir()
    replace, mkdir = os.replace, pathlib.Path.mkdir

    def busy(old, new):
        if pathlib.Path(new) == place:
            raise OSError(16, "Device or resource busy")
        replace(old, new)

    def denied(path, *args, **options):
        if path.parent == tmp_path and path != place:
            raise PermissionError(13, "Permission denied")
        mkdir(path, *args, **options)

    if request.param == "mount point":
        (place / "lost+found").mkdir()
        monkeypatch.setattr(os, "replace", busy)
    if request.param == "parent of others":
        monkeypatch.setattr(pathlib.Path, "mkdir", denied)
    yield place
    assert place.is_symlink() == request.param.startswith("link")


def test_an_empty_folder_of_any_kind_becomes_a_session(empty, tmp_path_factory):
    ts.create(empty)
    assert storage.read(empty).images.names == ts.IMAGES.names
    made = {path.name for path in empty.iterdir()} - {"lost+found"}
    plain = ts.create(tmp_path_factory.mktemp("plain") / "s")
    assert made == {path.name for path in plain.iterdir()}
    with pytest.raises(InputError, match="is not empty but a session already"):
        ts.create(empty)


def test_what_fails_leaves_an_empty_folder_of_any_kind_empty(empty, monkeypatch):
    before = [path.name for path in empty.iterdir()] if empty.exists() else None
    replace = os.replace

    def full(old, new):
        if pathlib.Path(new) in (
            empty / "session.json",
            empty.resolve() / "session.json",
            empty.resolve(),
        ):
            raise OSError(28, "No space left on device")
        replace(old, new)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match=r"cannot be made \(No space left on device\)"):
        ts.create(empty)
    assert ([path.name for path in empty.iterdir()] if empty.exists() else None) == before
    assert not list(empty.parent.glob(".*.tmp"))


def test_what_is_no_session(tmp_path):
    with pytest.raises(InputError, match="is not a session; make one with init"):
        storage.read(tmp_path)
    place = ts.create(tmp_path / "s")
    about = json.loads((place / "session.json").read_text())
    (place / "session.json").write_text(json.dumps(about | {"form": 2}))
    with pytest.raises(InputError, match="written by a newer version"):
        storage.read(place)
    (place / "session.json").write_text("{")
    with pytest.raises(InputError, match="may be damaged"):
        storage.read(place)
    (place / "session.json").write_text(json.dumps(about))
    np.save(place / "inside.npy", np.ones((2, 3, 4), bool))
    with pytest.raises(InputError, match="does not fit the images"):
        storage.read(place)


def test_the_place_is_kept_and_older_sessions_have_none(tmp_path, monkeypatch):
    affine = ((0.1, 0.0, 0.0, 1 / 3), (0.0, 0.2, 0.0, -5.0), (0.0, 0.0, 7.0, 2e-7), (0, 0, 0, 1.0))
    cut = ((1, 0, 0, -3), (0, -1, 0, 40), (0, 0, 1, 0), (0, 0, 0, 1))
    place = Place((50, 41, 30), affine, cut, (2, 5, 9, 12, 16, 19))
    monkeypatch.setattr(ts, "IMAGES", dataclasses.replace(ts.IMAGES, place=place))
    made = ts.create(tmp_path / "s")
    found = storage.read(made).images.place
    assert found == place and hash(found) == hash(place)  # to the last bit
    about = json.loads((made / "session.json").read_text())
    del about["place"]
    (made / "session.json").write_text(json.dumps(about))
    assert storage.read(made).images.place is None


def test_what_a_session_began_with_is_missed(tmp_path):
    place = ts.create(tmp_path / "s", weights={"block1_conv1_kernel": np.zeros((3, 3, 3, 8))})
    (place / storage.WEIGHTS).unlink()
    with pytest.raises(InputError, match=r"weights\.npz: is missing, the session began with it"):
        storage.read(place)


def test_a_session_without_truth_has_none(tmp_path):
    place = ts.create(tmp_path / "s", truth=None)
    with pytest.raises(InputError, match="has no truth that could answer"):
        storage.true_mask(place, 0, 1)


NAMED = make_images(np.zeros((4, 8, 8), np.uint8), ("background", "a", "b"), sections="abcd")


@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_ranges_by_name_and_number_with_open_ends(tmp_path, between):
    path = tmp_path / "ranges.csv"
    rows = [("Name", "First", "Last"), ("a", "b", "2"), ("b", "", "c")]
    path.write_text("\n".join(between.join(row) for row in rows) + "\n\n")
    found = ranges.in_range_of(ranges.read_ranges(path), NAMED)
    assert found.astype(int).T.tolist() == [[1, 1, 1, 1], [0, 1, 1, 0], [1, 1, 1, 0]]
    again = tmp_path / "again.csv"
    again.write_bytes(ranges.table_of_ranges(found, NAMED))
    np.testing.assert_array_equal(ranges.in_range_of(ranges.read_ranges(again), NAMED), found)


ALIKE = make_images(
    np.zeros((3, 8, 8), np.uint8),
    ("background", "noyau caud\u00e9", "Left disc", "left DISC", "box"),
    sections=("Schnitt_\u00e41", "b", "c"),
)


@pytest.mark.parametrize(
    "name", ["noyau caude\u0301", "noyau\u00a0caud\u00e9\u200b", " NOYAU  CAUD\u00c9"]
)
@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", ["name,first,last\n{}\n", "sep=;\r\nLast;Name;First\r\n{}\r\n"])
def test_ranges_name_classes_and_sections_as_people_write_them(tmp_path, name, code, form):
    path = tmp_path / "ranges.csv"
    cells = {",": (name, "schnitt_A\u03081", "B"), ";": ("B", name, "schnitt_A\u03081")}
    mark = ";" if ";" in form else ","
    path.write_bytes(form.format(mark.join(cells[mark])).encode(code))
    found = ranges.in_range_of(ranges.read_ranges(path), ALIKE)
    assert found.astype(int).T.tolist() == [[1, 1, 1], [1, 1, 0], *[[1, 1, 1]] * 3]


@pytest.mark.parametrize("name, number", [("left DISC", 3), ("Left\u2009disc", 2), ("BOX", 4)])
def test_a_structure_by_a_name_that_is_one_only(name, number):
    assert ranges.structure_number(name, ALIKE) == number


@pytest.mark.parametrize("name", ["LEFT DISC", "left", "", "bo"])
def test_a_name_that_could_be_two_is_none(name):
    with pytest.raises(InputError, match=f"there is no structure '{name}'; the classes are"):
        ranges.structure_number(name, ALIKE)


def test_ranges_of_another_encoding_say_how_to_save_them(tmp_path):
    path = tmp_path / "ranges.csv"
    path.write_bytes("name,first,last\nnoyau caud\u00e9,b,c\n".encode("cp1252"))
    with pytest.raises(InputError, match="line 2 has the byte 0xe9, which is not UTF-8; save it"):
        ranges.read_ranges(path)


@pytest.mark.parametrize(
    "text, says",
    [
        ("name,first\na,1\n", "has the columns name, first; give name,first,last"),
        ("name,first,last\na,1,2\na,1,2\n", "line 3 repeats 'a'; keep one"),
        ("name,first,last\nc,1,2\n", "'c' is no class"),
        ("name,first,last\na,1,2\nA,1,2\n", "'A' is 'a' once more; give one range of it"),
        ("", "has the columns none; give name,first,last"),
        ('name,first,last\n"a,1,2\n', "cannot be read as a table of ranges"),
        ("name,first,last\na,1,9\n", "there is no section '9'; they go from a to d"),
        ("name,first,last\na,d,b\n", "the last section b comes before the first, d"),
    ],
)
def test_ranges_that_are_wrong(tmp_path, text, says):
    path = tmp_path / "ranges.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        ranges.in_range_of(ranges.read_ranges(path), NAMED)
    with pytest.raises(InputError, match=rf"ranges\.csv: .*{says}"):
        ranges.read_in_range(path, NAMED)


def test_ranges_that_are_wrong_are_named_by_file_and_row(tmp_path):
    path = tmp_path / "ranges.csv"
    path.write_text("name,first,last\na,a,b\nb,a,9\n")
    with pytest.raises(InputError, match=r"ranges\.csv: row 'b': there is no section '9'"):
        ranges.read_in_range(path, NAMED)
    path.write_text("name,first,last\na,a,b\nb,a,c\nbackground,a,a\n")
    with pytest.raises(InputError, match=r"ranges\.csv: section d is in the range of no class"):
        ranges.read_in_range(path, NAMED)


def _sections(*names: str):
    pixels = np.zeros((len(names), 8, 8), np.uint8)
    return make_images(pixels, ("background", "a"), sections=names)


@pytest.mark.parametrize(
    "names, text, expected",
    [
        (("1.png", "2.png", "3.png"), "2", 1),  # not the third
        (("1.png", "2.png", "3.png"), "2.png", 1),
        (("01.tif", "02.tif", "10.tif"), "2", 1),
        (("1.ome.tif", "2.ome.tif"), "2", 1),
        (("151507.png", "151508.png"), "151508", 1),
        (("s1.png", "s2.png"), "s2", 1),
        (("s1.png", "s2.png"), " 1 ", 1),  # nothing is called by a number
        (("a\u0308.png", "b.png"), "\u00e4", 0),
        (("5", "7", "9"), "7", 1),
        (("1.png", "2.png", "map.png"), "map", 2),
    ],
)
def test_a_number_that_is_a_file_is_that_file(names, text, expected):
    assert ranges.section_number(text, _sections(*names)) == expected


@pytest.mark.parametrize(
    "names, text",
    [(("1.png", "2.png"), "0"), (("1.png", "01.png"), "001"), (("s1.png", "s2.png"), "2")],
)
def test_numbers_of_no_file(names, text):
    with pytest.raises(InputError, match=f"there is no section '{text}'; they go from {names[0]}"):
        ranges.section_number(text, _sections(*names))


def test_ranges_are_said_by_name():
    images = make_images(
        np.zeros((3, 8, 8), np.uint8),
        ("background", "a", "b"),
        sections=("1.png", "2.png", "3.png"),
    )
    found = ranges.in_range_of({"a": ("2", "3"), "b": ("", "")}, images)
    assert ranges.described(found, images) == "'a' 2.png to 3.png"
    found[:, 2] = False
    assert ranges.described(found, images) == "'a' 2.png to 3.png, 'b' nowhere"


def test_numbers_are_names_where_sections_are_numbered():
    numbered = make_images(np.zeros((3, 8, 8), np.uint8), ("background", "a"), sections="579")
    assert ranges.section_number("7", numbered) == 1
    with pytest.raises(InputError, match="there is no section '1'; they go from 5 to 9"):
        ranges.section_number("1", numbered)
