"""Inputs as people have them: each of ../shared/cases does what its last column says.

What shows kinds of input without those files is in the other tests of readers.
"""

import csv
import os
import pathlib
import re
import warnings

import numpy as np
import pytest

from al_jax.core.stack import InputError
from al_jax.files.inputs import read_labelled
from al_jax.files.reading import InputNote
from al_jax.files.slicing import Cut

PLAIN = [14694, 1830, 1320, 588]  # pixels of background, disc, box and bar in most folders
CUT = [5264, 400, 360, 120]  # and in most volumes

# What is read: pixels of each class.
READ = {
    **dict.fromkeys(
        [
            "101c_semicolon",
            "107c_header_trailing_comma",
            "108c_rows_trailing_comma",
            "109c_float_ids",
            "10_tif_float32",
            "10_tif_int64",
            "110c_upper_header",
            "113c_nbsp_inside",
            "117c_freesurfer_lut",
            "118c_itksnap",
            "103c_utf16",
            "119c_brainglobe",
            "122c_extra_classes",
            "125c_mathtext_2",
            "127c_cjk",
            "130c_unknown_0",
            "155t_imagej_composite3",
            "159t_img_int8",
            "160t_img_int16_neg",
            "161t_img_float32",
            "164t_label_uint32_big",
            "165t_orientation3_rgb16",
            "168t_orientation6",
            "23_img_miniswhite16",
            "24_png_4bit",
            "28_palette_of_greys",
            "29_png_rgb16_12bit",
            "34_lab_rgb_equal",
            "40_order_bregma_negative",
            "42_order_case",
            "47_nfc_nfd",
            "49_suffix_mask",
            "51_suffix_cellpose",
            "53_ome_tif",
            "55_jpeg",
            "58_bmp",
            "61_tiff_stack",
        ],
        PLAIN,
    ),
    **dict.fromkeys(
        [
            "196_nrrd",
            "203n_label_flipped_header_centred",
            "210_same_name_two_subjects",
            "62n_label_29999998",
            "65n_label_roundtrip",
            "74n_sform_zero",
            "75n_micron_voxels",
            "80n_rgb_struct",
            "81n_rgb_last_axis",
            "90n_gz_trailing_junk",
        ],
        CUT,
    ),
    "20_tif_inverting_lut": [15282, 3150],
    "21_tif_bool": [15282, 3150],
    "95n_default_sections": [12272, 960, 864, 240],
}

# What is refused, by which line.
REFUSED = {
    "150t_fluo5_contig16": "images/s_1.tif: has 5 channels.*--channels",
    "152t_fluo5_contig8": "images/s_1.tif: has 5 channels.*--channels",
    "179_label_png_1bit_255": "labels/s_1.png: has the id 1, .*a pixel has 1 bit: white is",
    "195n_pair_without_img": "t1.hdr: its other half t1.img is missing",
    "25_palette_per_image": "labels/s_1.png: its palette has black at index 3.*save the labels as",
    "37_lab_colour": "labels/s_1.png: is a picture of 3 channels; .* not colours",
    "67n_label_no_affine": "its header places it .* both have 30 by 20 by 26 .* image's header",
    "69n_label_lps_as_ras": "its header places it .* both have 30 by 20 by 26 .* image's header",
    "79n_onehot": "labels.nii.gz: is 4D .* one-hot .*argmax",
    "82n_image_nan": "t1.nii.gz: the voxel .* not finite; .* fslmaths .* -nan",
    "85n_allen_float32": "label 312782560 as float32, which cannot tell ids above 16777216 apart",
    "96n_ignore_255": "labels.nii.gz: slice 0: has the id 255.*--outside_id=255",
}

# What is noted beside: voxels that are not square are in most volumes.
NOTED = {
    "119c_brainglobe": "lists no background; pixels with id 0",
    "122c_extra_classes": "no section shows 'not there', 'nor this'; left out",
    "203n_label_flipped_header_centred": "its axes run LPS .* RAS; .* mirrored",
    "74n_sform_zero": "its sform is all zeros; placed by its qform",
    "81n_rgb_last_axis": "holds 3 volumes along time, .* first is taken; .*--channels=0,1,2",
    "90n_gz_trailing_junk": "bytes follow the end",
    "95n_default_sections": "24 sections were asked for but 14 show",
}


def cases() -> list[dict[str, str]]:
    beside = pathlib.Path(__file__).resolve().parents[2] / "shared"
    table = pathlib.Path(os.environ.get("AL_JAX_DATA", beside)) / "cases" / "cases.csv"
    if not table.is_file():
        return []
    return [
        row | {"folder": str(table.parent / row["case"])} for row in csv.DictReader(table.open())
    ]


CASES = cases()
pytestmark = pytest.mark.skipif(
    not CASES, reason="no cases: set AL_JAX_DATA to the folder that holds cases/"
)


def read(case: dict[str, str], monkeypatch, **more):
    """The stack of a case, by its own flags, and what was noted."""
    monkeypatch.chdir(case["folder"])
    flags = dict(re.findall(r"--(images|labels|names|sections)=([^ ,]+)", case["flags"]))
    cut = {"cut": Cut(sections=int(flags["sections"]))} if "sections" in flags else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        stack = read_labelled(flags["images"], flags["labels"], flags["names"], **cut, **more)
    assert {w.category for w in caught} <= {InputNote}
    return stack, [str(w.message) for w in caught]


def find(name: str) -> dict[str, str]:
    return next(case for case in CASES if case["case"] == name)


def test_every_case_is_expected_to_do_something():
    assert {case["case"] for case in CASES} == READ.keys() | REFUSED.keys()
    assert len(CASES) == len(READ) + len(REFUSED) >= 62


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_case(case, monkeypatch):
    name = case["case"]
    if name in REFUSED:
        with pytest.raises(InputError, match=REFUSED[name]) as caught:
            read(case, monkeypatch)
        assert "\n" not in str(caught.value)
        return
    stack, notes = read(case, monkeypatch)
    assert np.bincount(stack.truth[stack.inside]).tolist() == READ[name]
    if name in NOTED:
        assert any(re.search(NOTED[name], note) for note in notes), notes
    others = [note for note in notes if not re.search(f"not square|{NOTED.get(name, '$^')}", note)]
    assert [note for note in others if "as if these were square" not in note] == []


def test_orders_and_names(monkeypatch):
    stack, _ = read(find("40_order_bregma_negative"), monkeypatch)
    positions = [float(name[len("bregma_") : -len(".png")]) for name in stack.sections]
    assert positions == sorted(positions) and positions[0] == -1.34
    stack, _ = read(find("42_order_case"), monkeypatch)
    assert [name.lower() for name in stack.sections] == [f"section_{n}.png" for n in range(1, 7)]
    stack, _ = read(find("127c_cjk"), monkeypatch)
    assert stack.names == ("background", "視床", "نواة", "Ядро")
    stack, _ = read(find("117c_freesurfer_lut"), monkeypatch)
    assert stack.names[1] == "Left-Cerebral-Exterior" and stack.colours[1] == (70, 130, 180)


def test_the_mends_that_are_proposed_work(monkeypatch):
    stack, _ = read(find("96n_ignore_255"), monkeypatch, outside_id=255)
    assert not stack.inside.all() and stack.num_classes == 4
    for name in ("150t_fluo5_contig16", "152t_fluo5_contig8"):
        assert read(find(name), monkeypatch, channels=(0,))[0].images.shape[-1] == 1
        assert read(find(name), monkeypatch, channels=(0, 1, 0))[0].images.shape[-1] == 3


def test_one_picture_in_different_files_is_one_picture(monkeypatch):
    """White is bright at any depth, and one scale is used: only rounding differs."""
    plain, _ = read(find("24_png_4bit"), monkeypatch)
    for name in ("23_img_miniswhite16", "159t_img_int8", "160t_img_int16_neg", "161t_img_float32"):
        stack, _ = read(find(name), monkeypatch)
        pairs = [plain.images.astype(float).ravel(), stack.images.astype(float).ravel()]
        assert np.corrcoef(pairs)[0, 1] > 0.999, name
