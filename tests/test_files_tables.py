"""Tables of label names."""

import pytest
from samples import TABLE, assert_equal, refused, save, small_volumes

from al_jax.files.cuts import read_nifti


@pytest.fixture
def volumes(tmp_path):
    image, labels = small_volumes()
    (tmp_path / "names.csv").write_text(TABLE)
    return (
        save(tmp_path / "image.nii.gz", image),
        save(tmp_path / "labels.nii.gz", labels),
        tmp_path / "names.csv",
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "has no column 'id'; its columns are none"),
        ("id;name\n0;background\n", "has no column 'id'"),
        ("id\n0\n", "has no column 'name'"),
        ("id,name,id\n0,a,0\n", "two columns 'id'"),
        ("id,name\n0,background\n3,a\n3,b\n", "line 4 repeats the id 3"),
        ("id,name\n0,background\n3.0,a\n", "line 3 has the id '3.0'"),
        ("id,name\n0,background\n1_0,a\n", "line 3 has the id '1_0'"),
        ("id,name\n0,background\n" + "9" * 5000 + ",a\n", "line 3 has the id '9999"),
        ("id,name\n0,background\n3,\n", "line 3 has no printable 'name'"),
        ("id,name\n0,background\n3,left, upper\n", "line 3 has 3 fields"),
        ("id,name\n0,background\n", "no class but background"),
        ('id,name\n0,"background\n', "cannot be read as a CSV"),
        ("id,name\n0,\xff\n", "cannot be read as a CSV"),
        ("id,name\n0,background\n3,a\n", "has the id [57], which"),
    ],
)
def test_tables_refused(volumes, table, message):
    volumes[2].write_bytes(table.encode("latin-1"))
    refused(f"names.csv.*{message}|{message}.*names.csv", read_nifti, *volumes, sections=6)


def test_tables_may_have_a_byte_order_mark_blank_lines_and_spaces(volumes):
    expected = read_nifti(*volumes, sections=6)
    text = (
        "\ufeff" + TABLE.replace("\n", "\r\n").replace(",", " , ").replace("back", "Back") + "\r\n"
    )
    volumes[2].write_bytes(text.encode())
    assert_equal(read_nifti(*volumes, sections=6), expected)
