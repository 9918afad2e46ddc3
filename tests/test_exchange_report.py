"""The page of a session: its numbers, and that it stands alone."""

import re

import numpy as np
import tiny

from al_jax.core.stack import make_images
from al_jax.plotting.session_report import write_report
from al_jax.session.results import Answered, Export

STACK = tiny.stack()
IMAGES = make_images(STACK.images, STACK.names, STACK.inside)
ANSWERS = [
    Answered(2, 0, "traced", None, 300.0, None, 60.0, 300.0, None),
    Answered(2, 1, "traced", None, 100.0, 0.1, 30.0, 400.0, None),  # beside a proposal
    Answered(3, 1, "corrected", 120.0, 100.0, 0.75, 10.0, 500.0, 0.4),
    Answered(1, 3, "absent", 20.0, 0.0, None, 2.0, 500.0, 0.6),
    Answered(4, 2, "accepted", 90.0, 100.0, 1.0, 4.0, 600.0, 0.8),
]


def export(answers, **changes):
    traced = np.where(STACK.truth < 2, STACK.truth, -1).astype(np.int16)
    traced[[0, 1, 4, 5]] = -1
    parts = dict(
        traced=traced,
        segmentation=np.asarray(STACK.truth, np.int16),
        names=STACK.names,
        sections=STACK.sections,
        answers=answers,
    )
    return Export(**(parts | changes))


def page(tmp_path, *args, **kwargs):
    path = tmp_path / "report.html"
    write_report(path, IMAGES, *args, **kwargs)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    return path.read_text()


def test_the_numbers_of_a_session(tmp_path):
    text = page(tmp_path, export(ANSWERS), left=1400.0)
    for line in (
        "5 answers on 4 of 6 sections: 2 traced, 1 corrected, 1 absent, 1 accepted.",
        "the outlines known so far predict that 1,400 px are left, so about 30% are done.",
        "An answer took 10 s (median); all that were timed, 2 min.",
        "Of the 2 proposals that were taken as a start, 88% of the outline was kept (mean).",
        "without what was traced, has an estimated mean Dice of 80%.",
        "1 that cost nothing are left out.",
    ):
        assert line in text
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", text)
    cells = {name: re.findall(r"<td>(.*?)</td>", row) for name, row in rows}
    assert cells["outer"] == ["2", "0", "200", "75", "0.7"]
    assert cells["inner"] == ["0", "1", "0", "-", "0.0"]


def test_a_page_fetches_nothing(tmp_path):
    text = page(tmp_path, export(ANSWERS))
    assert text.count('src="data:image/png;base64,') == 3
    assert "http" not in text.replace("http-equiv", "")
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_a_session_without_answers_or_network(tmp_path):
    none = np.full(STACK.truth.shape, -1, np.int16)
    text = page(tmp_path, export([], traced=none, segmentation=None))
    for line in ("Nothing has been answered yet.", "No network has been trained yet."):
        assert line in text
    assert "No answer with an outline had a prediction." in text


def test_equal_sessions_give_equal_pages(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert page(tmp_path / "a", export(ANSWERS)) == page(tmp_path / "b", export(ANSWERS))
