"""What looks odd is asked about, what a structure does elsewhere too is not."""

from types import SimpleNamespace

import numpy as np
import pytest

from al_jax.exchange.doubts import what_is_odd

SHAPE = (20, 30)


def box(top, bottom, left, right):
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


def odd(mask, *, structure=1, section=3, known=None, proposal=None, labels=None, **more):
    """`known`: section -> where the structure is there."""
    question = SimpleNamespace(
        section=section,
        structure=structure,
        inside=more.pop("inside", np.ones(SHAPE, bool)),
        labels=np.full(SHAPE, -1) if labels is None else labels,
        proposal=proposal,
    )
    traced = {n: np.where(own, structure, -1) for n, own in (known or {}).items()}
    return "; ".join(what_is_odd(question, mask, SimpleNamespace(labels=traced), **more))


DISC = box(5, 12, 6, 14)


def test_an_area_of_which_nothing_is_known_is_not_odd():
    assert odd(DISC) == odd(DISC, scaled=False) == odd(box(0, 5, 0, 5)) == ""
    assert odd(box(4, 5, 4, 10)) == ""  # small enough to be as thin as that


def test_an_inverted_mask_holds_all_corners():
    assert "all corners" in odd(~DISC)
    assert "all corners" in odd(np.ones(SHAPE, bool), known={2: DISC})
    assert odd(~DISC, known={2: ~DISC, 4: DISC}) == ""  # so it does elsewhere
    assert "all corners" in odd(~DISC, known={0: ~DISC, 2: DISC})  # but not near


def test_the_background_holds_corners_and_inverted_none():
    assert odd(~DISC, structure=0) == ""
    assert "no corner" in odd(DISC, structure=0)
    assert odd(DISC, structure=0, known={2: DISC}) == ""
    labels = np.full(SHAPE, -1)
    labels[0, 0] = 2
    assert odd(DISC, structure=0, labels=labels) == ""  # one corner is another's
    assert odd(DISC, structure=0, inside=~box(0, 2, 0, 2)) == ""


def test_most_of_the_section():
    most = box(2, 18, 2, 28)
    assert "fills 69% of the section" in odd(most)
    assert odd(most, known={2: most}) == ""
    inside = box(0, 20, 0, 12)  # of which the disc is a share that would be less of all
    assert "fills" in odd(box(2, 18, 2, 12), inside=inside)


@pytest.mark.parametrize(
    ("known", "proposal", "line"),
    [
        ({2: box(5, 12, 20, 28)}, None, "does not touch where it is on the nearest sections"),
        ({}, box(5, 12, 20, 28), "does not touch the proposal"),
        ({2: box(5, 12, 20, 28)}, box(15, 19, 20, 28), "neither the proposal nor where it is"),
        ({2: box(5, 12, 20, 28)}, box(5, 9, 10, 12), ""),
        ({2: box(5, 12, 20, 28), 5: DISC}, box(15, 19, 20, 28), ""),
        ({2: box(5, 12, 20, 28), 1: DISC}, None, "does not touch"),  # not the nearest
        ({2: box(5, 12, 14, 20)}, None, ""),  # side by side
        ({2: box(5, 12, 15, 20)}, None, "does not touch"),
        ({1: box(5, 12, 15, 20)}, None, ""),  # farther off it may have moved more
        ({3: box(5, 12, 20, 28)}, None, ""),  # what is corrected is no measure
        ({}, box(0, 0, 0, 0), ""),  # an empty proposal says nothing
    ],
)
def test_where_it_is_expected(known, proposal, line):
    found = odd(DISC, known=known, proposal=proposal)
    assert (line in found) if line else found == ""


def test_a_line_in_place_of_an_area():
    ring = DISC & ~box(6, 11, 7, 13)
    assert "a line and not an area" in odd(ring)
    assert "a line and not an area" in odd(ring, known={2: DISC})
    assert odd(ring, known={2: ring}) == ""  # a structure that is a line
    assert "a line" in odd(box(5, 7, 6, 14), known={2: DISC})  # two pixels wide
    assert odd(box(5, 7, 6, 14)) == ""
    assert odd(box(4, 16, 0, 30) & (np.indices(SHAPE) % 2 == 0).all(0)) == ""  # dots
    assert odd(box(0, 2, 6, 14), known={2: box(0, 4, 6, 14)}) == ""  # the edge cuts it


@pytest.mark.parametrize(
    ("ring", "doubted"),
    [
        (box(2, 18, 2, 28) & ~box(4, 16, 4, 26), True),  # two pixels wide
        (box(2, 18, 2, 28) & ~box(5, 15, 5, 25), True),  # three
        (box(2, 14, 2, 14) & ~box(5, 11, 5, 11), False),  # 108 px around 36
        (box(2, 15, 2, 15) & ~box(5, 12, 5, 12), False),  # 120 px around 49
        (box(2, 16, 2, 16) & ~box(5, 13, 5, 13), False),  # 132 px around 64
        (box(2, 17, 2, 17) & ~box(5, 14, 5, 14), True),  # 144 px around 81
        (box(1, 19, 1, 29) & ~box(5, 15, 5, 25), False),  # 304 px around 200, and 4 wide
        (box(2, 18, 2, 28) & ~box(5, 15, 5, 30), False),  # around nothing
    ],
)
def test_an_outline_that_is_not_filled(ring, doubted):
    assert ("an outline around" in odd(ring)) == doubted
    assert ("fill it" in odd(ring, known={2: box(2, 18, 2, 28)})) == doubted


def test_structures_that_are_rings():
    """A cortex around white matter; the background around everything."""
    ring, hole = box(2, 18, 2, 28) & ~box(5, 15, 5, 25), box(5, 15, 5, 25)
    assert odd(~box(3, 17, 3, 27), structure=0) == ""
    assert odd(ring, known={2: ring}) == odd(ring, known={1: ring, 2: ring | hole}) == ""
    thick = box(1, 19, 1, 29) & ~hole
    assert "fill it" in odd(ring, known={2: hole}) and odd(ring, known={1: thick, 2: hole}) == ""
    labels = np.where(hole, 2, -1)
    assert odd(ring, labels=labels) == odd(ring, known={2: ring | hole}, labels=labels) == ""
    assert "an outline around" in odd(ring, labels=np.where(box(5, 15, 5, 8), 2, -1))
    assert "an outline around" in odd(ring, labels=np.where(hole, 1, -1))  # it is filled no more
    assert "outline" not in odd(ring, inside=~hole)


def test_outlines_of_no_known_size_are_doubted_at_the_edge():
    corner = box(10, 20, 18, 30)
    assert "--downsample" in odd(corner, scaled=False)
    assert odd(corner) == odd(corner, scaled=False, known={2: corner}) == ""
    assert odd(corner, scaled=False, proposal=DISC | corner) == ""
