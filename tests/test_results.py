"""The figures of the results' page are those of its CSVs."""

import csv
import pathlib
import re

RESULTS = pathlib.Path(__file__).parents[1] / "experiments" / "results"
NAMES = {
    "scan 1000": ("mri_1000_nine", "0"),
    "scan 1006": ("mri_1006_nine", "0"),
    "scan 1010": ("mri_1010_nine", "0"),
    "frog": ("frog", "0"),
    "FVB, mouse 1": ("fvb_1", "0"),
    "histology, Br5292, seed 0": ("histology_Br5292", "0"),
    "histology, Br5292, seed 1": ("histology_Br5292", "1"),
    "histology, Br5595, seed 0": ("histology_Br5595", "0"),
}


def _runs(name: str) -> dict[tuple[str, str, str], dict[str, str]]:
    with open(RESULTS / name, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["setting"] == "main"]
    return {(row["stack"], row["seed"], row["method"]): row for row in rows}


def _figures(row: dict[str, str], kind: str = "effort") -> str:
    return " / ".join(f"{float(row[f'{kind}_at_dice_{dice}']):.1f}" for dice in (90, 95))


def test_the_table_of_one_dice_for_each_pair():
    page = (RESULTS / "README.md").read_text()
    section = page.split("### One Dice for each pair")[1].split("\n### ")[0]
    found, others = _runs("pairs_runs.csv"), _runs("nine_runs.csv") | _runs("histology_runs.csv")
    lines = re.findall(r"^\| ([^|]+) \|(.+)\|$", section.replace("*", ""), re.MULTILINE)
    cells = {name: [cell.strip() for cell in rest.split("|")] for name, rest in lines}
    for name, pair in NAMES.items():
        row = found[*pair, "SEr"]
        assert cells[name][:2] == [_figures(row), _figures(row, "effort_once")]
        if "frog" not in name and "FVB" not in name:  # which have no CSV of the others
            told = [_figures(others[*pair, method]) for method in ("SDr", "BDa")]
            assert cells[name][2:4] == told
    assert set(found) == {(*pair, "SEr") for pair in NAMES.values()}
