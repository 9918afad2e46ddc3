"""Folders of pictures: the order of sections, and whose labels are whose."""

import os
import random
import re
import shutil
import unicodedata

import pytest
from PIL import Image
from samples import refused

from al_jax.files.folders import in_order, list_pictures, pair_pictures
from al_jax.files.placeholders import check_here
from al_jax.files.reading import InputNote


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


@pytest.mark.filterwarnings("ignore::al_jax.files.reading.InputNote")
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


POINTERS = [
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    b"/annex/objects/SHA256E-s2539--8a.png\n",
    b"../.git/annex/objects/xx/yy/MD5E-s1--1.tif/MD5E-s1--1.tif",
]


@pytest.mark.filterwarnings("ignore::al_jax.files.reading.InputNote")
@pytest.mark.parametrize("name", ["s2.png", "s2.TIF", "s2.ome.tiff", "s2.jpg", "s2.bmp"])
def test_a_broken_link_is_refused_with_what_fetches_it(folders, name):
    (folder,) = folders(images=["s1.png", "s3.png"])
    (folder / name).symlink_to(f"../.git/annex/objects/x/{name}")
    refused(f"{name}: is a link to .*annex.*; fetch the file .datalad get", list_pictures, folder)
    (folder / name).unlink()
    (folder / name).symlink_to("gone/s2.png")
    refused(f"{name}: is a link to gone/s2.png, .*copy it here", list_pictures, folder)
    (labels,) = folders(labels=["s1.png", "s2.png", "s3.png"])
    refused(f"{name}: is a link to gone", pair_pictures, labels, folder)
    refused(f"{name}: is a link to gone", pair_pictures, folder, labels, begun=True)
    (folder / "gone").mkdir()
    (folder / "gone/s2.png").touch()
    assert len(list_pictures(folder)) == 3  # a link that is whole is a file


@pytest.mark.parametrize("content", POINTERS, ids=["lfs", "annex", "link as text"])
def test_a_pointer_is_refused_with_what_fetches_it(folders, content):
    (folder,) = folders(images=["s1.png", "s2.png"])
    (folder / "s2.png").write_bytes(content)
    fetch = "git lfs pull" if b"lfs" in content else "datalad get"
    refused(f"s2.png: holds only where its content is; fetch that .{fetch}", list_pictures, folder)
    check_here(folder / "s1.png")
    check_here(folder / "none.png")  # whoever reads it says so
    for name in ("scan.nii.gz", "labels.nrrd", "names.csv", "stack.npz", "pages.tif"):
        (folder / name).write_bytes(content)
        refused(f"{name}: holds only where", check_here, folder / name)


@pytest.mark.parametrize(
    "name",
    [".s2.png.icloud", ".s2.tif.icloud", "s2.png.nextcloud", "s2.tif.owncloud", "s2.png.cloud"],
)
def test_a_placeholder_of_a_cloud_is_refused(folders, name):
    (folder,) = folders(images=["s1.png", "s3.png", name, ".notes.txt.icloud"])
    meant = name.removeprefix(".").rpartition(".")[0]
    refused(f"{name}: stands for {meant}, which a cloud has not fetched", list_pictures, folder)


@pytest.mark.filterwarnings("error")
def test_what_is_left_out_is_said(folders):
    (folder,) = folders(
        images=["s1.png", "s2.png", "README", "names.csv", "Thumbs.db", ".DS_Store"],
    )
    assert len(list_pictures(folder)) == 2  # nothing is said of what is no section
    folders(
        images=[
            *("s3.webp", "s4.WEBP", "s5.jp2", "x.czi", "IM0001"),
            *("._s1.png", ".s9.tif"),
            *("s1_mask.png", "s2-labels.png"),
        ]
    )
    (folder / "s8.svs").symlink_to("nowhere")
    for name in ("left/deep/a.png", "left/b.tif", "empty/notes.txt", ".git/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    says = [
        "images: 2 files are sections; left out are 2 that are called like labels of others",
        r"\(s1_mask.png, s2-labels.png\), 2 .webp, ",
        "1 .czi",
        "1 .jp2",
        "1 .svs",
        "1 without an ending",
        "2 hidden, 2 in the folder left; if they are",
    ]
    with pytest.warns(InputNote) as caught:
        assert [path.name for path in list_pictures(folder)] == ["s1.png", "s2.png"]
    (line,) = {str(warning.message) for warning in caught}
    for said in says:
        assert re.search(said, line), line
    assert ".git" not in line and "empty" not in line and "csv" not in line


@pytest.mark.filterwarnings("error")
def test_copies_among_the_sections_are_named(folders, tmp_path):
    synchronised = [
        "s4.sync-conflict-20260101-000000-ABC.png",
        "s5 (PC's conflicted copy 2026).png",
    ]
    copies = ["s3 (1).png", "a s2 - Kopie.png", "Copy of s4.png", *synchronised]
    (folder,) = folders(images=["a s2.png", *(f"s{n}.png" for n in (3, 4, 5, 6)), *copies])
    for number, path in enumerate(folder.iterdir()):
        path.write_bytes(b"%d" % number)
    with pytest.warns(
        InputNote, match="images: sections look like copies of others .* 1 more"
    ) as caught:
        assert len(list_pictures(folder)) == 10
    (line,) = {str(warning.message) for warning in caught}
    for name in copies:
        assert name in line or "and 1 more" in line
        (folder / name).unlink()
    list_pictures(folder)  # nothing is said
    (folder / "s7.png").write_bytes((folder / "s3.png").read_bytes())
    (folder / "s8.png").write_bytes(b"x" * 200_000 + b"a")
    (folder / "s9.png").write_bytes(b"x" * 200_000 + b"b")
    with pytest.warns(
        InputNote, match=r"images: sections look like copies of others \(s7.png of s3.png"
    ):
        list_pictures(folder)
    shutil.copytree(folder, tmp_path / "labels")
    with pytest.warns(InputNote, match="images: sections look") as caught:
        pair_pictures(folder, tmp_path / "labels")
    assert len({str(warning.message) for warning in caught}) == 1  # labels are often alike


@pytest.mark.filterwarnings("error")
def test_blank_sections_are_no_copies(folders):
    (folder,) = folders(images=["s1.png"])
    for name in ("s1", "s2", "s3"):
        Image.new("RGB", (5, 4), (9, 8, 7)).save(folder / f"{name}.png")
    assert len(list_pictures(folder)) == 3
    for name in ("s2", "s3"):
        Image.linear_gradient("L").save(folder / f"{name}.png")
    with pytest.warns(
        InputNote, match=r"images: sections look like copies of others \(s3.png of s2.png"
    ):
        list_pictures(folder)


@pytest.mark.filterwarnings("error")
def test_sections_that_are_numbered_like_copies_are_none(folders):
    (folder,) = folders(images=["s (1).png", "s (2).png", "t - Kopie.png", "u_copy.png", "v 2.png"])
    assert len(list_pictures(folder)) == 5


@pytest.mark.parametrize("name", [b"Schn\xe4tt1.png", b"\xff.tif"])
def test_names_that_are_not_utf_8_are_refused(folders, name):
    (folder,) = folders(images=["s1.png"])
    try:
        (folder / os.fsdecode(name)).touch()
    except OSError:
        pytest.skip("this file system has UTF-8 alone")
    refused("its name is not UTF-8; rename the file", list_pictures, folder)
    refused("its name is not UTF-8", pair_pictures, folder, folder)


@pytest.mark.filterwarnings("error")
def test_labels_in_a_folder_among_the_images_are_no_news(folders):
    (folder,) = folders(images=["s1.png", "s2.png"])
    (folder / "labels").mkdir()
    for name in ("s1.png", "s2.png"):
        (folder / "labels" / name).touch()
    assert len(pair_pictures(folder, folder / "labels")) == 2
    with pytest.warns(InputNote, match="2 in the folder labels"):
        list_pictures(folder)
    folders(images=["s1_seg.png"])
    with pytest.warns(InputNote, match=r"1 that are called like labels of others \(s1_seg.png\)"):
        assert len(pair_pictures(folder, folder / "labels")) == 2


def test_folders_of_folders_are_named(folders, tmp_path):
    for name in ("mice/a/s1.png", "mice/b/s1.png", "mice/b/s2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    refused(
        r"mice: holds no pictures but folders of them \(1 in a, 2 in b\); name one",
        list_pictures,
        tmp_path / "mice",
    )


@pytest.mark.parametrize(
    "called",
    ["s{}.tif", "s{}_mask.png", "{}_s{}.png", "{:03}_s{}.png"],
    ids=["equal", "suffix", "export", "export of many"],
)
def test_labels_of_some_sections(folders, called):
    numbers = (1, 2, 10)
    both = called.count("{") > 1
    names = [called.format(*((k, n) if both else (n,))) for k, n in enumerate(numbers)]
    images, labels = folders(images=[f"s{n}.png" for n in numbers], labels=names[1:])
    pairs = pair_pictures(images, labels, begun=True)
    assert [(image.name, label and label.name) for image, label in pairs] == [
        ("s1.png", None),
        ("s2.png", names[1]),
        ("s10.png", names[2]),
    ]
    if not both:
        refused("labels: lacks the section 's1' of .*images", pair_pictures, images, labels)
    (labels / "s7.png").touch()
    with pytest.warns(InputNote, match="labels: .*images has no image that belongs to s7.png"):
        assert len(pair_pictures(images, labels, begun=True)) == 3
    for name in names[1:]:
        (labels / name).unlink()
    refused("lacks the section", pair_pictures, images, labels, begun=True)


def test_an_export_names_what_it_cannot_write(folders):
    images, labels = folders(
        images=["a 1.png", "a_1.png", "b(2).png"], labels=["1_a_1.png", "2_b_2_.png"]
    )
    pairs = pair_pictures(images, labels, begun=True)
    found = {image.name: label and label.name for image, label in pairs}
    assert found == {"a 1.png": None, "a_1.png": "1_a_1.png", "b(2).png": "2_b_2_.png"}
