"""Folders of pictures: the order of sections, and whose labels are whose."""

import random
import unicodedata

import pytest
from samples import refused

from al_jax.files.folders import in_order, list_pictures, pair_pictures


@pytest.fixture
def folders(tmp_path):
    """Makes empty files in folders, and returns these."""

    def make(**names: list[str]):
        for folder, files in names.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            for name in files:
                (tmp_path / folder / name).touch()
        return [tmp_path / folder for folder in names]

    return make


@pytest.mark.parametrize(
    "expected",
    [
        ["s1", "s2", "s10"],
        ["Section_1", "section_2", "SECTION_3", "section_10"],
        ["bregma_-1.34", "bregma_-0.94", "bregma_-0.10", "bregma_0.26", "bregma_1.10"],
        ["-2", "-1", "0", "+1", "2"],
        ["x -10.5 mm", "x -2.25 mm", "x 0 mm", "x 3 mm"],
        ["s-1", "s-2", "s-10"],  # a hyphen after a letter or a digit joins
        ["2020-01-09", "2020-01-10", "2020-02-01"],
        ["z0.05", "z0.5", "z1.25", "z2"],
        ["slide1.1", "slide1.2", "slide1.9", "slide1.10", "slide1.11"],  # chapters
        ["v1.2.3", "v1.2.10", "v1.10.1"],
        ["mouse1_s2", "mouse1_s10", "mouse2_s1", "mouse10_s1"],
        ["s1a", "s1b", "s2a"],
        ["s007", "s08", "s9"],
        ["only"],
    ],
    ids=lambda names: names[0],
)
def test_sections_are_in_the_order_of_their_numbers(expected):
    shuffled = list(expected)
    for seed in range(5):
        random.Random(seed).shuffle(shuffled)
        assert in_order(shuffled) == expected


def test_equal_numbers_fall_back_on_the_text():
    assert in_order(["s01", "s1", "S1"]) == in_order(["S1", "s1", "s01"])


def test_pictures_of_a_folder(folders):
    (folder,) = folders(
        images=["s10.png", "s2.TIF", "s1.ome.tif", "notes.txt", ".s3.png", "s4.jpeg", "s5.BMP"]
    )
    (folder / "s6.png").mkdir()
    names = [path.name for path in list_pictures(folder)]
    assert names == ["s1.ome.tif", "s2.TIF", "s4.jpeg", "s5.BMP", "s10.png"]


@pytest.mark.parametrize(
    ("images", "labels", "suffix"),
    [
        ("s{}.png", "s{}.tif", None),
        ("s{}.ome.tif", "s{}.png", None),
        ("s{}.png", "s{}_mask.png", None),
        ("s{}.png", "s{}-labels.png", None),
        ("s{}.png", "s{}_cp_masks.png", None),
        ("s{}.png", "s{}_SEG.tif", None),
        ("s{}_0000.png", "s{}.png", None),
        ("s{}_mask.png", "s{}_mask.png", None),  # the image is called so
        ("s{}.png", "s{}_mine.png", "_mine"),
        ("s{}.png", "s{}_mask_v2.png", "_mask_v2"),
        (
            unicodedata.normalize("NFC", "Kölle{}.png"),
            unicodedata.normalize("NFD", "Kölle{}.png"),
            None,
        ),
    ],
)
def test_labels_find_their_images(folders, images, labels, suffix):
    numbers = (10, 1, 2)
    both = folders(
        images=[images.format(n) for n in numbers], labels=[labels.format(n) for n in numbers]
    )
    pairs = [(image.name, label.name) for image, label in pair_pictures(*both, suffix)]
    assert pairs == [(images.format(n), labels.format(n)) for n in (1, 2, 10)]


def test_images_and_labels_in_one_folder(folders):
    (folder,) = folders(both=["s1.tif", "s1_cp_masks.png", "s2.tif", "s2_cp_masks.png"])
    pairs = [(image.name, label.name) for image, label in pair_pictures(folder, folder)]
    assert pairs == [("s1.tif", "s1_cp_masks.png"), ("s2.tif", "s2_cp_masks.png")]
    refused("both: does not hold images beside labels", pair_pictures, folder, folder, "_other")


def test_what_is_refused(folders, tmp_path):
    images, labels, others, empty = folders(
        images=["s1.png", "s2.png"],
        labels=["s1.png", "s2x.png"],
        others=["a.czi", "b.czi"],
        empty=[],
    )
    refused(
        "none: is not a folder that can be read .No such file", list_pictures, tmp_path / "none"
    )
    refused("empty: holds no PNG, TIFF, JPEG or BMP files but no file", list_pictures, empty)
    refused("others: holds no .* files but 2 .czi; .* save the sections", list_pictures, others)
    refused(
        "labels: lacks the section 's2' of .*images .nearest: s2x.png.; add it",
        pair_pictures,
        images,
        labels,
    )
    (labels / "s2.png").touch()
    refused("images: lacks the section 's2x' of .*labels; add", pair_pictures, images, labels)
    (labels / "s2x.png").unlink()
    (labels / "s2_mask.png").touch()
    refused("s2_mask.png: s2.png labels the same section", pair_pictures, images, labels)
    (images / "s1.tif").touch()
    refused("s1.tif: s1.png is the same section", list_pictures, images)
