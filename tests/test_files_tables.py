"""Tables of label names, as spreadsheets, BIDS, BrainGlobe, FreeSurfer and ITK-SNAP write them."""

import json

import numpy as np
import pytest
from samples import noted, refused

from al_jax.files.table_rows import read_rows
from al_jax.files.tables import read_table, table_entries

PLAIN = "id,name\n0,background\n3,left\n5,right\n"
FREESURFER = """#No. Label Name:                            R   G   B   A

0   Unknown                                 0   0   0   0
3   Left-Cerebral-Cortex                    205 62  78  0
251 CC Posterior 17                         0   0   64  0
"""
ITKSNAP = """################################################
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    7        1  1  1    "disc, upper"
    2     0  255    0      0.5  1  1    "box"
"""


@pytest.fixture
def table(tmp_path):
    """Writes a table, and returns its path."""

    def write(content: str | bytes, name: str = "names.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def read(path, *args, **kwargs):
    """Names, ids and their classes as plain lists."""
    found = read_table(path, *args, **kwargs)
    return list(found.names), dict(zip(found.ids.tolist(), found.classes.tolist(), strict=True))


EXPECTED = (["background", "left", "right"], {0: 0, 3: 1, 5: 2})


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
        PLAIN.replace("id,name", "ID,Name"),
        PLAIN.replace("id,name", "index,name"),
        PLAIN.replace("\n", ",\n"),
        PLAIN.replace("id,name\n", "id,name,,\n"),
        PLAIN.replace("0,background\n", "0,background,\n"),
        PLAIN.replace("3,", "3.0,").replace("5,", "5.,"),
        "\ufeff" + PLAIN.replace("\n", "\r\n").replace(",", " , ").replace("back", "Back") + "\r\n",
        PLAIN.replace("left", "\u00a0left\u200b"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-16-be"),
        PLAIN.replace("left", '"left"'),
        PLAIN.replace("background", "Unknown"),
        PLAIN.replace("background", "Clear Label"),
        PLAIN.replace("background", "exterior"),
        PLAIN.replace("background", "UNLABELED"),
        "# of the atlas\n" + PLAIN,
        PLAIN.replace("id,name", "#id,name"),
        "id,name\n5,right\n3,left\n0,background\n".replace("5,right\n3,left", "3,left\n5,right"),
    ],
)
def test_spellings_of_one_table(table, content):
    assert read(table(content)) == EXPECTED


def test_spaces_of_any_kind_are_plain_and_accents_composed(table):
    names, _ = read(table("id,name\n0,background\n1,Left\u00a0disc\n2,Ko\u0308lle\n3,a  b\n"))
    assert names == ["background", "Left disc", "Kölle", "a  b"]


def test_freesurfer_and_itksnap_tables_have_colours(table):
    found = read_table(table(FREESURFER))
    assert found.names == ("background", "Left-Cerebral-Cortex", "CC Posterior 17")
    assert found.ids.tolist() == [0, 3, 251] and found.classes.tolist() == [0, 1, 2]
    assert found.colours == ((0, 0, 0), (205, 62, 78), (0, 0, 64))
    found = read_table(table(ITKSNAP))
    assert found.names == ("background", "disc, upper", "box")
    assert found.colours == ((0, 0, 0), (255, 0, 7), (0, 255, 0))


def test_bids_and_brainglobe_tables(table):
    bids = "index\tname\tabbreviation\tcolor\n0\tbackground\tBG\t#000000\n7\tgrey\tGM\t#ff53bb\n"
    found = read_table(table(bids, "x_dseg.tsv"))
    assert found.colours == ((0, 0, 0), (255, 83, 187)) and found.ids.tolist() == [0, 7]
    structures = "acronym,id,name,structure_id_path,parent_structure_id\nroot,997,root,/997/,\n"
    found = noted("lists no background; pixels with id 0", read_table, table(structures))
    assert found.names == ("background", "root") and found.ids.tolist() == [0, 997]
    entries = [{"id": 997, "name": "root", "acronym": "root", "rgb_triplet": [255, 1, 2]}]
    found = noted("id 0", read_table, table(json.dumps(entries), "structures.json"))
    assert found.names == ("background", "root") and found.colours == ((0, 0, 0), (255, 1, 2))


def test_colours_are_of_classes_and_of_all_or_none(table):
    grouped = "id,name,group,color\n0,background,background,#000000\n1,a,n,#010203\n2,b,n,#ffffff\n"
    assert read_table(table(grouped), "group").colours == ((0, 0, 0), (1, 2, 3))
    assert read_table(table(grouped.replace("#010203", "")), "name").colours is None


def test_only_id_0_has_other_names_for_background(table):
    names = "id,name\n0,Clear Label\n1,unknown\n2,Background\n3,exterior\n"
    found = (["background", "unknown", "exterior"], {0: 0, 1: 1, 2: 0, 3: 2})
    assert read(table(names)) == found


def test_an_outside_id_is_no_class(table):
    assert read(table(PLAIN), outside_id=3) == (["background", "right"], {0: 0, 5: 1})
    # Nothing is taken for background where id 0 is outside the image.
    assert read(table("id,name\n1,a\n"), outside_id=0) == (["background", "a"], {1: 1})
    assert read(table("id,name\n0,air\n1,background\n2,a\n"), outside_id=0)[1] == {1: 0, 2: 1}


def test_more_rows_than_int16(table):
    rows = "".join(f"{n},class {n}\n" for n in range(1, 40_001))
    found = read_table(table("id,name\n0,background\n" + rows))
    assert found.classes[found.ids == 40_000].tolist() == [40_000]
    assert found.names[40_000] == "class 40000"


def test_entries_are_of_any_column(table):
    path = table("id,name,group\n0,background,background\n3,left,nucleus\n5,right,nucleus\n")
    assert table_entries(path) == {
        "background": [0],
        "left": [3],
        "right": [5],
        "nucleus": [3, 5],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no column 'id'; its columns are none"),
        ("id|name\n0|background\n", r"has no column 'id'; its columns are id\|name"),
        ("0,background\n3,a\n", "has no column 'id'; its columns are 0, background .the first"),
        ("id\n0\n", "has no column 'name'"),
        ("id,name,id\n0,a,0\n", "two columns 'id'"),
        ("id,name\n0,background\n3,a\n3,b\n", "line 4 repeats the id 3"),
        ("id,name\n0,background\n3.5,a\n", "line 3 has the id '3.5'"),
        ("id,name\n0,background\n1_0,a\n", "line 3 has the id '1_0'"),
        ("id,name\n0,background\n" + "9" * 5000 + ",a\n", "line 3 has the id '9999"),
        ("id,name\n0,background\n3,\n", "line 3 has no 'name'"),
        ("id,name\n0,background\n3,a\x07b\n", r"line 3 has the character U\+0007 in 'name'"),
        ("id,name\n0,background\n3,left, upper\n", "line 3 has 3 fields.*quote names"),
        ("id,name\n0,background\n", "no class but background"),
        ("id,name\n0,air\n3,a\n", "names id 0 'air' and has no background; name id 0 background"),
        ('id,name\n0,"background\n', "cannot be read as a table"),
        (PLAIN.encode("utf-16-le"), "is UTF-16.*save it as UTF-8"),
        (PLAIN.encode("utf-16")[:-1], "is UTF-16.*save it as UTF-8"),
        (PLAIN.encode("utf-32"), "is UTF-16, or no text.*save it as UTF-8"),
        ("id,name\n0,background\n3,Kölle\n".encode("cp1252"), "line 3 has the byte 0xf6.*UTF-8"),
        (FREESURFER + "17 Left 1\n", "line 6 is not a line of FreeSurfer"),
        (FREESURFER.replace("205", "305"), "line 4 has the colour .305, 62, 78"),
        (ITKSNAP + "3 1 2 3 x\n", "line 6 is not a line of ITK-SNAP"),
        ('[{"id": 3}]', "entry 1 has no 'id' and 'name'"),
        ("[3", "cannot be read as a table"),
    ],
)
def test_tables_refused(table, content, message):
    refused(f"names.csv: .*{message}", read_table, table(content))


def test_tables_without_a_file_or_a_column(table, tmp_path):
    refused("none.csv: there is no such file", read_table, tmp_path / "none.csv")
    refused(": is a folder, not a table", read_table, tmp_path)
    refused("no column 'nine'; its columns are id, name", read_table, table(PLAIN), "nine")


def test_rows_know_their_lines(table):
    rows = read_rows(table("id,name\n\n0,background\n\n3,left\n"))
    assert [(row.line, row.id, row.cells, row.colour) for row in rows] == [
        (3, 0, {"name": "background"}, None),
        (5, 3, {"name": "left"}, None),
    ]
    assert np.array([row.id for row in rows]).tolist() == [0, 3]
