"""What a bar says."""

import pytest

from al_jax.simulation.progress import Progress, layout


@pytest.mark.parametrize(
    ("fraction", "here", "seconds", "told"),
    [
        (0.0, 0.0, 0.0, False),
        (0.01, 0.01, 45.0, False),  # most of it was compilation
        (0.12, 0.11, 60.0, True),
        (0.95, 0.05, 60.0, False),  # the rest was there before
        (0.01, 0.01, 700.0, True),  # whoever waits that long wants any estimate
        (0.3, 0.0, 700.0, False),
        (1.0, 1.0, 60.0, False),
    ],
)
def test_time_left_is_said_once_there_is_a_pace(fraction, here, seconds, told):
    assert ("left" in layout(fraction, here, seconds)) == told


def test_a_bar_without_a_terminal_has_one_line_at_its_end(capsys):
    with Progress("network") as bar:
        bar.show(0.5, step="1")
        bar.show(1.0, step="2")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.split() == ["network", "100%|##########|", "00:00,", "step", "2"]
