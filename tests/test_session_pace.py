"""How long answers take: a person of known speed is found, and questions are asked by it."""

import jax.numpy as jnp
import numpy as np
import pytest
import tiny_session as ts
from test_strategies import make_state

from al_jax import session as sessions
from al_jax.core.evidence import make_evidence
from al_jax.core.stack import InputError
from al_jax.core.strategies import STRATEGIES, suggest
from al_jax.session import pace
from al_jax.session.events import Event, effective_answers

BASE = {"traced": 12.0, "corrected": 6.0, "accepted": 2.0, "absent": 3.0}
RATE = {"traced": 0.05, "corrected": 0.2, "accepted": 0.0, "absent": 0.0}


def answers(count, seed=0, spread=0.3, breaks=0.05):
    """Of a person of these speeds, who goes for a coffee now and then."""
    rng = np.random.default_rng(seed)
    found = []
    for kind in rng.choice(pace.KINDS, count, p=[0.4, 0.3, 0.2, 0.1]):
        length = float(rng.uniform(30, 600))
        event = Event(event="answer", how=str(kind), length=length, proposal_dice=0.8)
        if kind == "absent":
            event = Event(event="absent", length=0.0, proposal_dice=0.8)
        elif kind != "traced":
            event["kept"] = [length if kind == "accepted" else 0.7 * length] * 3
        mean = BASE[kind] + RATE[kind] * pace.by_hand(event)
        event["seconds"] = mean * np.exp(rng.normal(0, spread))
        event["seconds"] *= 20 if rng.random() < breaks else 1
        found.append(event)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_persons_speed_is_found_within_thirty_answers(seed):
    found = pace.pace_of(answers(30, seed))
    later = answers(200, seed + 100)
    true = [BASE[pace.kind_of(e)] + RATE[pace.kind_of(e)] * pace.by_hand(e) for e in later]
    off = [
        abs(pace.seconds_of(found, pace.kind_of(e), pace.by_hand(e)) / t - 1)
        for e, t in zip(later, true, strict=True)
    ]
    assert np.median(off) < 0.25
    assert abs(found.shares[1] - 0.3) < 0.2


def test_many_answers_without_noise_give_the_speeds_themselves():
    found = pace.pace_of(answers(200, spread=0.01, breaks=0))
    np.testing.assert_allclose(found.base, [BASE[k] for k in pace.KINDS], rtol=0.05)
    np.testing.assert_allclose(found.rate, [0.05, 0.2], rtol=0.05)


def test_seconds_by_hand():
    one = pace.Pace((10.0, 6.0, 2.0, 4.0), (0.1, 0.2), (0.5, 0.25, 0.25, 0.0), 0.4)
    assert pace.seconds_of(one, "traced", 100) == 20
    assert pace.seconds_of(one, "accepted", 100) == 2
    assert pace.expected_seconds(one, 100, proposed=False) == 20
    # 10 / 2 + 6 / 4 + 2 / 4 = 7 s, and 0.1 / 2 + 0.2 * 0.4 / 4 = 0.07 s a pixel.
    assert pace.expected_seconds(one, 100, proposed=True) == pytest.approx(14)
    assert pace.overhead(one) == pytest.approx(100)


def test_what_was_given_or_has_no_time_counts_nowhere():
    given = [Event(event="answer", how="given", length=9.0), Event(event="absent", length=0.0)]
    assert pace.pace_of(given) == pace.pace_of(())


def test_an_overhead_makes_short_outlines_no_bargain():
    """Da: 0.5 / 10 against 0.9 / 20; with 20 px beside each, 0.5 / 30 against 0.9 / 40."""
    state = make_state([[0, 0, 0], [0, 10, 0], [0, 0, 20]])
    dice = jnp.array([[1.0, 0.5, 0.1]] * 2)

    def asked(overhead):
        evidence = make_evidence(state, dice, overhead=overhead)
        return int(suggest(state, evidence, STRATEGIES["Da"]).structure)

    assert (asked(0.0), asked(20.0)) == (1, 2)


def test_a_session_says_what_it_expects_and_asks_by_it(tmp_path):
    with pytest.raises(InputError, match="cost 'hours' is not one of pixels, seconds"):
        sessions.Settings(cost="hours")
    settings = sessions.Settings(0, ts.CONFIG, cost="seconds")
    folder = ts.create(tmp_path / "s", settings=settings)
    with sessions.open_session(folder) as session:
        first = session.next_question()
        assert first.seconds == pytest.approx(
            pace.expected_seconds(pace.pace_of(()), first.left, proposed=False)
        )
        stored = ts.answer(session, first.section, first.structure, question=first, seconds=40)
        assert stored.event["predicted_seconds"] == round(first.seconds, 1)
        paced = session._paced_rule()
        expected = pace.overhead(pace.pace_of(effective_answers(session.events)))
        assert paced.query.overhead == pytest.approx(expected)
        assert session.progress().seconds_error == pytest.approx(
            abs(stored.event["predicted_seconds"] - 40) / 40
        )
    assert sessions.read_session(folder).settings == settings
