"""A person at work, who is the truth here: what is asked, what is stored, what is refused."""

import dataclasses
import json
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_session as ts

from al_jax import session as sessions
from al_jax.core.scores import relative_length
from al_jax.core.stack import InputError
from al_jax.core.strategies import STRATEGIES, SEr
from al_jax.files import checkpoints
from al_jax.learner import transfer
from al_jax.learner.config import changed, model_of
from al_jax.learner.learner import add_trial, init_learner
from al_jax.model.training import init_train_state
from al_jax.session import Settings, ledger, pace, trainer, trials
from al_jax.simulation import loop, runner
from al_jax.simulation.prepare import prepare

pytestmark = pytest.mark.usefixtures("programs_once")


@pytest.fixture
def place(tmp_path):
    return ts.create(tmp_path / "s")


@pytest.fixture
def session(place):
    with sessions.open_session(place) as opened:
        yield opened


def lines(session) -> int:
    return (session.folder / ledger.LEDGER).read_bytes().count(b"\n")


def answer_examples(session) -> None:
    while session.next_question().example:
        ts.answer_question(session)


def learn(session) -> int:
    pieces = 0
    while session.train_step() is not None:
        pieces += 1
    return pieces


def test_from_first_examples_to_proposals_and_back_from_disk(place, monkeypatch, programs_once):
    programs_once.clear()
    with sessions.open_session(place) as session:
        asked, compiled = [], []
        monkeypatch.setattr(trainer, "trim_memory", lambda: compiled.append(1))
        session.warm_up()
        programs = len(compiled)
        assert session.next_question().proposal is None
        while (question := session.next_question()).example:
            assert session.train_step() is None  # examples come first
            asked.append(question.structure)
            ts.answer(session, question.section, question.structure, question=question)
        assert sorted(asked) == [0, 1, 2, 3] and asked[-1] == 0
        first = session.train_step()
        assert first is not None and (first.first, first.fraction, first.through) == (True, 1, 4)
        assert session.behind() == 0 and session.train_step() is None
        question, stored = ts.answer_question(session)
        free = question.labels == -1
        assert question.proposal is not None and not question.proposal[~free].any()
        assert question.network == stored.event["network"] == 4
        assert session.behind() == 1
        second = session.train_step()
        assert second is not None and (second.first, second.through) == (False, 5)
        assert len(compiled) == programs > 0  # all were compiled early
        before, asked = session.annotations, session.next_question()
    with sessions.open_session(place) as session:
        assert ts.same(session.annotations, before) and session.notices == []
        assert session.network.through == 5 and session.train_step() is None
        again = session.next_question()
        assert (again.why, again.runner_up) == (asked.why, asked.runner_up)
        np.testing.assert_array_equal(again.proposal, asked.proposal)


def test_the_last_example_is_what_is_left_of_its_section(session):
    while (question := session.next_question()).structure != 0:
        assert question.example and question.proposal is None
        ts.answer_question(session)
    assert question.example
    free = question.inside & (question.labels == -1)
    np.testing.assert_array_equal(question.proposal, free)
    np.testing.assert_array_equal(free, session.true_mask(question.section, 0) & question.inside)
    event = session.store_answer(
        question.section, 0, question.proposal, question=question, how="accepted"
    ).event
    assert event["length"] == 0 and event["how"] == "accepted"  # others have all of its outline
    assert session.train_step().first


def test_an_update_covers_all_answers_before_it(session):
    while session.next_question().example:
        ts.answer_question(session)
    learn(session)
    for _ in range(3):
        ts.answer_question(session)
    assert session.behind() == 3
    trained = session.train_step()
    assert trained is not None and trained.through == 7
    assert session.behind() == 0 and session.train_step() is None


def test_answers_are_stored_and_asked_while_a_training_runs(session, monkeypatch):
    while session.next_question().example:
        ts.answer_question(session)
    learn(session)
    ts.answer_question(session)
    begun, go_on = threading.Event(), threading.Event()
    step = trainer.Trainer.step

    def slow(*arguments):
        begun.set()
        assert go_on.wait(60)
        return step(*arguments)

    monkeypatch.setattr(trainer.Trainer, "step", slow)
    found = []
    thread = threading.Thread(target=lambda: found.append(session.train_step()))
    thread.start()
    assert begun.wait(60)
    ts.answer_question(session)  # nothing waits
    ts.answer_question(session)
    go_on.set()
    thread.join()
    assert found[0].through == 5 and session.behind() == 2


def test_a_failed_training_is_said_and_the_network_stays(session, monkeypatch):
    while session.next_question().example:
        ts.answer_question(session)
    learn(session)
    ts.answer_question(session)
    network = session.network

    def broken(*_):
        raise InputError("the loss is not finite")

    monkeypatch.setattr(trainer.Trainer, "step", broken)
    with pytest.raises(InputError, match="not finite"):
        session.train_step()
    assert session.network is network
    ts.answer_question(session)


BAD = [
    ({"mask": np.ones((3, 4), bool)}, r"the mask is bool of \[3, 4\]; give booleans of \[40, 48\]"),
    ({"mask": ts.truth(2, 1).astype(np.uint8)}, "the mask is uint8"),
    ({"mask": np.zeros((40, 48), bool)}, "the mask is empty; if it is absent there, say absent"),
    ({"section": 6}, "there is no section 6"),
    ({"structure": 4}, "there is no structure 4"),
    ({"how": "guessed"}, "how 'guessed' is not of"),
]


@pytest.mark.parametrize("change, says", BAD)
def test_bad_answers_have_a_line_each_and_store_nothing(session, change, says):
    given = {"section": 2, "structure": 1, "mask": ts.truth(2, 1)} | change
    with pytest.raises(InputError, match=says):
        session.store_answer(**given)
    assert lines(session) == 0 and not list((session.folder / ledger.MASKS).iterdir())
    assert not session.annotations.labels


def test_numbers_of_numpy_and_lists_are_numbers(session):
    """What is stored is what plain numbers store, to the last byte."""
    two, one, four = np.int64(2), np.uint8(1), np.array(4)
    question = session.next_question(section=two, structure=one)
    assert (type(question.section), type(question.structure)) == (int, int)
    session.store_answer(two, jnp.int32(1), ts.truth(2, 1).tolist(), seconds=np.float32(1.5))
    session.store_absent(four, np.int16(3), seconds=np.int64(7))
    session.skip(np.int8(0), np.int64(2), np.str_("torn"))
    session.set_range(np.int64(3), [np.int64(1), None])
    session.set_range(np.uint16(3), np.array([0, 5]))
    session.withdraw(np.int64(3))
    told = sessions.read_session(session.folder).events
    assert told == session.events and [event.get("seconds") for event in told[:2]] == [1.5, 7]
    spans = [event["span"] for event in told if event["event"] == "range"]
    assert spans[-2:] == [[1, None], [0, 5]]


@pytest.mark.parametrize(
    "act, says",
    [
        (lambda s: s.next_question(section="2", structure=1), "the section is '2'; give a whole"),
        (lambda s: s.next_question(section=2, structure=1.0), r"the structure is 1\.0; give a"),
        (lambda s: s.store_absent(np.float64(2), 1), "the section is .*2.0.*; give a whole number"),
        (lambda s: s.store_absent([2], 1), r"the section is \[2\]; give a whole number"),
        (lambda s: s.store_absent(2, 1, seconds="soon"), "the seconds are 'soon'; give a number"),
        (lambda s: s.store_absent(2, 1, seconds=float("nan")), "are nan; give a finite number"),
        (lambda s: s.store_absent(2, 1, seconds=-1), r"are -1\.0; give a finite number, 0 or more"),
        (lambda s: s.store_answer(2, 1, [[True], [True, False]]), "the mask is no array"),
        (lambda s: s.store_answer(2, 1, np.ones((40, 48))), "float64 of .40, 48.; give booleans"),
        (lambda s: s.store_answer(2, 1, [[1, 0]]), r"int64 of \[1, 2\]; give booleans of .40, 48"),
        (lambda s: s.set_range(1, [1, 2, 3]), "give its first and last section"),
        (lambda s: s.set_range(1, 3), "the range is 3; give its first and last section"),
        (lambda s: s.set_range(1, ["a", None]), "the section is 'a'; give a whole number"),
        (lambda s: s.skip(None, 1), "the section is None; give a whole number"),
        (lambda s: s.withdraw(1.5), "the number of an event is 1.5; give a whole number"),
        (lambda s: s.segment_section(-1), "there is no section -1"),
        (lambda s: s.take_over([[1]]), r"int64 of \[1, 1\]; give whole numbers of \[6, 40, 48\]"),
    ],
)
def test_what_is_no_number_or_array_is_refused(session, act, says):
    with pytest.raises(InputError, match=says):
        act(session)
    assert session.events == [] and lines(session) == 0


def test_overlap_is_clipped_and_said(session):
    ts.answer(session, 2, 2)
    both = ts.truth(2, 1) | ts.truth(2, 2)
    stored = session.store_answer(2, 1, both)
    assert f"left out: {ts.truth(2, 2).sum()} px that are 'middle'" in stored.message
    np.testing.assert_array_equal(session.annotations.labels[2] == 1, ts.truth(2, 1))
    with pytest.raises(InputError, match="nothing is left of the mask"):
        session.store_answer(2, 3, both)


def test_what_is_left_of_a_section_is_its_last_structure(session):
    """Stored and said by whoever stores; a mask of another place is not filled up."""
    for structure in (1, 2, 3):
        ts.answer(session, 2, structure)
    truth = ts.truth(2, 0) & ts.STACK.inside[2]
    with pytest.raises(InputError, match="nothing is left of the mask"):
        session.store_answer(2, 0, ts.truth(2, 1))
    part = truth & (np.cumsum(truth).reshape(truth.shape) > 7)
    stored = session.store_answer(2, 0, part)
    assert stored.message.endswith("; 7 px that were left are it too, as nothing else may be there")
    np.testing.assert_array_equal(session.annotations.labels[2] == 0, truth)
    np.testing.assert_array_equal(ledger.read_mask(session.folder, stored.event["mask"]), truth)
    assert ts.same(session.replay(session.events), session.annotations)
    with pytest.raises(InputError, match="7 px of the section would be of no class"):
        session.store_answer(2, 0, part)  # a correction stays as it is


def test_out_of_range_is_asked_then_widened_as_an_event(tmp_path):
    narrow = ts.IN_RANGE.copy()
    narrow[:, 3] = False
    narrow[2, 3] = True
    with sessions.open_session(ts.create(tmp_path / "s", in_range=narrow)) as session:
        n = 3
        with pytest.raises(InputError, match=r"outside the range of 'inner'.*--widen"):
            ts.answer(session, n, 3)
        assert lines(session) == 0
        session.store_answer(n, 3, ts.truth(n, 3), widen=True)
        kinds = [(e["event"], e.get("span")) for e in session.events]
        assert kinds == [("range", [2, 3]), ("answer", None)]
        after = session.annotations
    with sessions.open_session(tmp_path / "s") as session:
        assert ts.same(session.annotations, after)


def test_a_correction_takes_the_old_answer_back_in_one_line(session):
    ts.answer(session, 2, 1)
    ts.answer(session, 2, 2)
    small = ts.truth(2, 1) & (np.arange(48) < 24)
    stored = session.store_answer(2, 1, small)
    assert (stored.event["number"], stored.event["corrects"]) == (3, 1)
    np.testing.assert_array_equal(session.annotations.labels[2] == 1, small)
    assert ts.same(session.annotations, session.replay(session.events))
    less = small & (np.arange(48) < 20)
    again = session.store_answer(2, 1, less)  # a correction is corrected
    assert again.event["corrects"] == 3
    assert ts.same(session.annotations, session.replay(session.events))
    session.undo()
    np.testing.assert_array_equal(session.annotations.labels[2] == 1, small)
    session.undo()  # the old one stands again
    np.testing.assert_array_equal(session.annotations.labels[2] == 1, ts.truth(2, 1))


def test_what_was_drawn_around_an_answer_keeps_clear_of_its_correction(session):
    """As with the inner structure first, then a line around it and all that is in it."""
    inner, outer = ts.truth(2, 3), ts.truth(2, 3) | ts.truth(2, 2)
    ts.answer(session, 2, 3)
    session.store_answer(2, 2, outer)
    less = inner & (np.cumsum(inner).reshape(inner.shape) > 5)
    session.store_answer(2, 3, less)
    labels = session.annotations.labels[2]
    np.testing.assert_array_equal(labels == 3, less)
    np.testing.assert_array_equal(labels == 2, outer & ~less)  # it gets what is given back
    stored = session.store_answer(2, 3, outer)  # and keeps what it has
    assert stored.report.clipped == {"middle": int((outer & ~less).sum())}
    np.testing.assert_array_equal(session.annotations.labels[2] == 3, less)
    with pytest.raises(InputError, match=r"nothing is left of the mask, .* px of 'middle'"):
        session.store_answer(2, 3, outer & ~inner)
    newest = session.events[-1]["number"]
    assert session.undo()["number"] == newest  # not the last of those that stand
    assert ts.same(session.replay(session.events), session.annotations)


def test_a_finished_section_can_be_corrected(session):
    """Its last answer gets what no other structure has then."""
    for structure in (3, 2, 1, 0):
        ts.answer(session, 2, structure)
    inner = ts.truth(2, 3)
    less = inner & (np.cumsum(inner).reshape(inner.shape) > 4)
    session.store_answer(2, 3, less)
    labels = session.annotations.labels[2]
    np.testing.assert_array_equal(labels == 3, less)
    np.testing.assert_array_equal(labels == 0, ts.truth(2, 0) & ts.STACK.inside[2] | inner & ~less)
    assert not session.annotations.state.unlabelled[2]
    assert ts.same(session.replay(session.events), session.annotations)


def test_what_is_called_corrected_without_a_proposal_is_traced(session):
    stored = session.store_answer(2, 1, ts.truth(2, 1), how="corrected")
    assert stored.event["how"] == "traced"
    assert session.progress().kept is None


def test_a_structure_that_is_nowhere_does_not_keep_progress_unknown(tmp_path):
    narrow = ts.IN_RANGE.copy()
    narrow[:, 3] = False
    narrow[2, 3] = True
    with sessions.open_session(ts.create(tmp_path / "s", in_range=narrow)) as session:
        for structure in (0, 1, 2):
            ts.answer(session, 3, structure)
        assert session.progress().left is None
        session.store_absent(2, 3)
        assert session.progress().left > 0


def test_who_looks_at_a_session_takes_nothing_from_its_owner(place):
    """Neither a checkpoint that is being written, nor one that cannot be read."""
    with sessions.open_session(place) as session:
        answer_examples(session)
        learn(session)
    writing, damaged = place / "network" / "9.orbax-checkpoint-tmp", place / "network" / "8"
    writing.mkdir()
    damaged.mkdir()
    session = sessions.read_session(place)
    assert session.network.trained, session.notices  # of the one before
    assert writing.exists() and damaged.exists()
    with sessions.open_session(place) as session:
        assert session.network.trained and not writing.exists()


def test_undo_goes_back_event_by_event(session):
    states = [session.annotations]
    ts.answer(session, 2, 1)
    states.append(session.annotations)
    session.skip(3, 1, "torn")
    states.append(session.annotations)
    session.set_range(3, (None, None))
    states.append(session.annotations)
    session.note("lunch")
    for expected, kind in zip(states[-2::-1], ("range", "skip", "answer"), strict=True):
        event = session.undo()
        assert event is not None and event["event"] == kind
        assert ts.same(session.annotations, expected)
    assert session.undo() is None
    assert lines(session) == 7  # nothing is rewritten


def test_an_undo_that_contradicts_is_refused(tmp_path):
    narrow = ts.IN_RANGE.copy()
    narrow[:, 3] = False
    narrow[2, 3] = True
    with sessions.open_session(ts.create(tmp_path / "s", in_range=narrow)) as session:
        session.store_answer(3, 3, ts.truth(3, 3), widen=True)
        with pytest.raises(InputError, match="outside the range of 'inner'"):
            session.withdraw(1)
        assert lines(session) == 2
        with pytest.raises(InputError, match="there is no event 7"):
            session.withdraw(7)


def test_skipped_pairs_come_back_when_nothing_else_is_left(session):
    question = session.next_question()
    session.skip(question.section, question.structure, "unclear")
    other = session.next_question()
    assert (other.section, other.structure) != (question.section, question.structure)
    for n, c in np.argwhere(~session.annotations.skipped).tolist():
        session.skip(n, c)
    back = session.next_question()
    assert (back.section, back.structure) == (question.section, question.structure)


def test_any_pair_may_be_asked_for(session):
    question = session.next_question(section=4, structure=2)
    assert (question.section, question.structure, question.runner_up) == (4, 2, None)
    ts.answer(session, 4, 2, question=question)
    again = session.next_question(section=4, structure=2)  # to correct it
    assert (again.labels == 2).sum() == ts.truth(4, 2).sum()
    with pytest.raises(InputError, match="has been answered"):
        session.skip(4, 2)


def test_what_was_kept_of_a_proposal(session):
    for n, c in ((2, 1), (2, 2), (2, 3), (2, 0)):
        ts.answer(session, n, c)
    learn(session)
    question = session.next_question(section=3, structure=1)
    proposal = question.proposal
    assert proposal is not None and proposal.any()
    accepted = session.store_answer(3, 1, proposal, question=question, how="accepted").event
    assert accepted["kept"] == [accepted["length"]] * 3
    assert accepted["proposal_dice"] == 1
    now = session.progress()
    assert now.drawn == pytest.approx(now.traced - accepted["length"])
    assert now.kept == 1
    anew = session.store_answer(3, 1, proposal, question=question).event
    assert anew["corrects"] == accepted["number"]
    assert session.progress().drawn == session.progress().traced  # all drawn


def test_labels_from_before_are_answers(session):
    given = np.where(ts.STACK.truth >= 2, ts.STACK.truth, 0)
    given[3:] = 0
    assert session.take_over(given) == len({(n, c) for n, c in _shown(given)})
    for n in range(3):
        expected = np.where(given[n] > 0, given[n], -1)
        np.testing.assert_array_equal(session.annotations.labels[n], expected)
    assert {e["how"] for e in session.events} == {"given"}
    assert session.next_question().structure == 1  # no outline of it is known
    now = session.progress()  # B predicted nothing of them
    assert (now.predicted, now.last, now.error) == (0, None, None)


def _shown(labels):
    return [(n, c) for n in range(len(labels)) for c in np.unique(labels[n]) if c > 0]


def test_one_program_at_a_time(place):
    with (
        sessions.open_session(place),
        pytest.raises(InputError, match="another process is at work in it"),
        sessions.open_session(place),
    ):
        pass
    with sessions.open_session(place):
        assert sessions.read_session(place).events == []  # whoever holds it


def test_a_damaged_or_missing_checkpoint_costs_training_alone(place):
    with sessions.open_session(place) as session:
        while session.next_question().example:
            ts.answer_question(session)
        learn(session)
    answers = (place / ledger.LEDGER).read_bytes()
    for file in (place / "network").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    with sessions.open_session(place) as session:
        assert len(session.notices) == 1 and "learns again" in session.notices[0]
        assert not session.network.trained and learn(session) == 1
    shutil.rmtree(place / "network")
    with sessions.open_session(place) as session:
        assert session.notices == [] and learn(session) == 1
    assert (place / ledger.LEDGER).read_bytes() == answers


def test_a_ledger_cut_in_a_line_loses_that_line_alone(place):
    with sessions.open_session(place) as session:
        ts.answer(session, 2, 1)
        before = session.annotations
        ts.answer(session, 2, 2)
    path = place / ledger.LEDGER
    path.write_bytes(path.read_bytes()[:-9])
    with sessions.open_session(place) as session:
        assert ts.same(session.annotations, before)
        ts.answer(session, 2, 2)
    events = [json.loads(line) for line in path.read_text().splitlines()]
    assert [event["number"] for event in events] == [1, 2]


def test_progress_and_answers_in_numbers(session):
    empty = session.progress()
    assert (empty.answers, empty.dice, empty.error, empty.seconds_left) == (0, None, None, None)
    ts.answer(session, 2, 1, seconds=10.0)
    ts.answer(session, 3, 1, seconds=30.0)
    session.skip(4, 1)
    now = session.progress()
    first, second = (event["length"] for event in session.events[:2])
    assert (now.answers, now.absent, now.skipped, now.behind) == (2, 0, 1, 2)
    assert now.traced == now.drawn == first + second
    assert (now.predicted, now.actual) == (first, second)  # B is the first outline
    assert now.error == pytest.approx(abs(first - second) / second)
    assert now.seconds == 20 and now.training == 0
    assert now.left is None and now.seconds_left is None  # of the others nothing is known
    assert now.last == (first, second) and now.kept is None
    rows = session.answered()
    assert [row.effort for row in rows] == [first, first + second]
    assert [row.predicted for row in rows] == [None, first]
    assert {row.kind for row in rows} == {"traced"}


def test_outline_left_counts_each_crack_once(session):
    # Of section 2 all is known but one pair: then B of the others predicts what is left elsewhere.
    for c in range(4):
        ts.answer(session, 2, c)
    state = session.annotations.state
    total = float(state.drawn_unique.sum())
    candidates = ts.IN_RANGE.copy()
    candidates[2] = False
    boundary = state.length_sum / np.maximum(state.length_count, 1)
    # B is of section 2: of those beside it the shape of an ellipsoid tells.
    outlines = np.diagonal(state.length_count)
    longer = np.asarray(relative_length(state.seen, ts.IN_RANGE, outlines))
    expected = 0.0
    for n in range(6):
        left = np.flatnonzero(candidates[n])
        pairs = boundary[np.ix_(left, left)] * longer[n, left][:, None]
        expected += max(np.trace(pairs) - (pairs.sum() - np.trace(pairs)) / 2, 0)
    now = session.progress()
    assert now.left == pytest.approx(expected)
    assert expected <= 5 * total  # five sections as that one
    assert now.seconds_left is None
    ts.answer(session, 3, 1, seconds=40.0)
    now = session.progress()
    candidates[3, 1] = False
    pairs = candidates[candidates.sum(1) > 1].sum()  # the last class of a section is not asked for
    mean = pace.expected_seconds(pace.pace_of(session.events), now.left / pairs, proposed=True)
    assert now.seconds_left == pytest.approx(pairs * mean)


def test_what_replaces_an_answer_is_no_trial(session):
    """The network has learnt from the answer before, and would flatter itself."""
    answer_examples(session)
    learn(session)
    question = session.next_question()
    pair = question.section, question.structure
    ts.answer_question(session)
    learn(session)
    before = np.asarray(session.network.learner.trials)
    assert before[2].sum() == 1 == before[2, pair[1]]
    ts.answer(session, *pair)
    learn(session)
    assert session.events[-1]["corrects"]
    np.testing.assert_array_equal(session.network.learner.trials, before)


RESTING = changed(ts.CONFIG, {"query_learning_rate": 0.0})  # weights stay what they are


def estimates(session):
    learner = session.network.learner
    return np.asarray(learner.trials), np.asarray(learner.dice)


def same_estimates(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "estimate", ["shrunk", pytest.param("prospective", marks=pytest.mark.slow)]
)
def test_an_undone_answer_is_taken_out_of_the_estimates(tmp_path, estimate):
    """Given again, it is the trial that it was; also after the session was closed."""
    config = changed(RESTING, {"dice_estimate": estimate})
    place = ts.create(tmp_path / "s", settings=Settings(0, config))
    pairs = [(3, 2), (1, 2), (4, 2), (1, 1)]
    with sessions.open_session(place) as session:
        answer_examples(session)
        learn(session)
        found = [estimates(session)]
        for pair in pairs:
            ts.answer(session, *pair)
            learn(session)
            found.append(estimates(session))
        assert found[3][0][2, 2] == 1.75  # each trial counts half of the next
        for number in (3, 2):
            session.undo()
            learn(session)
            same_estimates(estimates(session)[:1], found[number][:1])
            np.testing.assert_array_equal(estimates(session)[1][0], found[number][1][0])
    with sessions.open_session(place) as session:
        same_estimates(estimates(session)[:1], found[2][:1])
        ts.answer(session, *pairs[2])
        learn(session)
        same_estimates(estimates(session), found[3])
        session.undo()  # it was not learnt from in between
        ts.answer(session, *pairs[2])
        learn(session)
        same_estimates(estimates(session)[:1], found[3][:1])
        ts.answer(session, *pairs[3])
        learn(session)
        same_estimates(estimates(session)[:1], found[4][:1])


def test_an_answer_from_the_middle_is_taken_out_too(tmp_path):
    place = ts.create(tmp_path / "s", settings=Settings(0, RESTING))
    with sessions.open_session(place) as session:
        answer_examples(session)
        learn(session)
        sums = []
        for pair in ((3, 2), (1, 2), (4, 2)):
            number = ts.answer(session, *pair).event["number"]
            learn(session)
            sums.append(estimates(session)[0][:, 2])
        ones = [sums[0], sums[1] - sums[0] / 2, sums[2] - sums[1] / 2]
        session.withdraw(number - 1)
        learn(session)
        expected = ones[0] / 2 + ones[2]
        np.testing.assert_allclose(estimates(session)[0][:, 2], expected, rtol=1e-6)
        session.store_absent(1, 2)
        learn(session)  # where it is not, there is no trial
        np.testing.assert_allclose(estimates(session)[0][:, 2], expected, rtol=1e-6)


def test_what_was_learnt_in_the_first_training_is_no_trial(tmp_path):
    place = ts.create(tmp_path / "s", settings=Settings(0, RESTING))
    with sessions.open_session(place) as session:
        answer_examples(session)
        learn(session)
        session.undo()
        learn(session)
        answer_examples(session)
        learn(session)
        assert not estimates(session)[0].any()


def test_trials_are_what_the_learner_sums(session):
    """`with_trials` for each pair alone is `learner.add_trial`, to the last bit."""
    structure, state = 1, session.annotations.state
    learner = init_learner(jax.random.key(0), state, ts.CONFIG)
    made = trials.start_from(learner)
    expected, one = learner.trials, np.float32([0.3, 0.7, 1])
    for n in range(4):
        scaled = one * np.float32([1 / (n + 1), 1, 1])
        made.shown[n, structure] = scaled
        fit = np.full(4, scaled[1], np.float32)
        expected = add_trial(expected, structure, scaled[0], fit, there=np.array(True))
    again = trials.from_array(trials.to_array(made), 4)
    for one in (made, again):
        found = trials.with_trials(learner, one, [(n, structure) for n in range(4)])
        np.testing.assert_array_equal(found.trials, expected)
        np.testing.assert_allclose(found.dice[:, 1], [0.3 / 4, 0.1], rtol=1e-6)


def test_a_checkpoint_that_does_not_tell_trials_apart_is_read(place):
    with sessions.open_session(place) as session:
        answer_examples(session)
        learn(session)
        for pair in ((3, 2), (1, 2)):
            ts.answer(session, *pair)
            learn(session)
        network = session.network
    shutil.rmtree(place / "network")
    counts = np.array([network.steps, network.trained, network.through, network.downsampling])
    saved = checkpoints.open_checkpoints(place / "network")
    checkpoints.save(saved, 1, (network.learner, counts))
    saved.close()
    with sessions.open_session(place) as session:
        assert session.notices == [] and session.network.trained
        same_estimates(estimates(session)[:1], [np.asarray(network.learner.trials)])
        session.undo()
        learn(session)
        ts.answer(session, 1, 2)
        learn(session)  # no fresh trial: the old one is still in the sums
        same_estimates(estimates(session)[:1], [np.asarray(network.learner.trials)])
        ts.answer(session, 4, 2)
        learn(session)
        assert estimates(session)[0][2, 2] == 1.75


@pytest.mark.slow
def test_a_session_goes_on_from_what_another_taught(tmp_path):
    """It proposes before anything was traced, and asks what a simulation asks."""
    first = ts.create(tmp_path / "first")
    with sessions.open_session(first) as session:
        with pytest.raises(InputError, match="has learnt nothing yet"):
            session.experience()
        answer_examples(session)
        learn(session)
        earlier = session.experience()
    config = changed(ts.CONFIG, {"initial_steps": 0, "start": "needed"})
    second = ts.create(tmp_path / "second", settings=Settings(0, config), earlier=earlier)
    known = transfer.fit_to(earlier, ts.STACK.names)
    prepared = prepare(jax.random.key(0), ts.STACK, config, prior=known)
    network = init_train_state(prepared.keys.weights, model_of(config, 4))
    params = transfer.with_experience(network.params, earlier, ts.STACK.names)
    run, _ = loop.begin(network.replace(params=params), prepared.state, prepared.task, config, SEr)
    nothing = jnp.zeros(prepared.task.present.shape)
    query = loop.ask(run, nothing, prepared.task, config, strategies=(SEr,), which=0)
    with sessions.open_session(second) as session:
        session.warm_up()
        question = session.next_question()
        assert not question.example and question.proposal is not None
        assert session.train_step().seconds > 0  # the stack is predicted, to find what is doubtful
        question = session.next_question()
        assert (question.section, question.structure) == (query.section, query.structure)
        np.testing.assert_allclose(question.dice, query.dice, rtol=1e-5)
        assert session.train_step() is None  # nothing was said yet


@pytest.mark.parametrize("steps", [0, 8])
def test_a_new_class_is_shown_first_beside_what_is_carried_over(tmp_path, steps):
    """Its example is asked for, what is known is proposed meanwhile; then the network learns."""
    with sessions.open_session(ts.create(tmp_path / "first")) as session:
        answer_examples(session)
        learn(session)
        earlier = session.experience()
    renamed = earlier._replace(names=("background", "outer", "middle", "another"))
    config = changed(ts.CONFIG, {"start": "needed", "initial_steps": steps})
    second = ts.create(tmp_path / "second", settings=Settings(0, config), earlier=renamed)
    with sessions.open_session(second) as session:
        assert not session.network.trained
        question = session.next_question(section=2, structure=1)
        assert question.proposal.any() and question.dice == pytest.approx(earlier.dice[1])
        ts.answer(session, 2, 1, question=question)  # what is known may be answered meanwhile
        assert session.train_step() is None  # examples come first
        question = session.next_question()
        assert question.example and question.structure == 3
        ts.answer(session, question.section, 3, question=question)
    with sessions.open_session(second) as session:
        assert session.next_question().proposal is not None
        first = session.train_step()
        assert (first.first, first.fraction, first.through) == (True, 1, 2)
        assert session.network.trained and session.train_step() is None
        learnt = session.network.learner.dice[0]
        assert learnt[2] == pytest.approx(earlier.dice[2]) and np.isfinite(learnt).all()


def test_a_corrected_answer_costs_what_was_drawn(session):
    answer_examples(session)
    learn(session)
    question = session.next_question()
    mask = ts.truth(question.section, question.structure)
    made = dataclasses.replace(question, proposal=mask.copy())
    before = float(session.annotations.state.drawn_unique.sum())
    stored = session.store_answer(
        question.section, question.structure, mask, question=made, how="accepted"
    )
    assert stored.report.effort > 0 and stored.event["kept"][0] == stored.event["length"]
    assert float(session.annotations.state.drawn_unique.sum()) == before
    progress = session.progress()
    assert progress.traced - progress.drawn == pytest.approx(stored.report.effort)
    assert session.replay(session.events).state.drawn_unique.sum() == before


def test_the_lines_of_the_ledger_keep_their_form(session):
    """Keys in their order, as sessions on disk have them."""
    session.take_over(np.where(np.arange(6)[:, None, None] == 1, ts.STACK.truth == 1, 0))
    ts.answer(session, 2, 1, seconds=3.0)
    question = session.next_question(section=3, structure=1)
    proposed = dataclasses.replace(question, proposal=ts.truth(3, 1))
    session.store_answer(3, 1, ts.truth(3, 1), question=proposed, how="accepted")
    session.store_answer(3, 1, ts.truth(3, 1))
    session.store_absent(5, 2)
    session.skip(4, 1, "torn")
    session.set_range(3, (None, 4))
    session.undo()
    session.note("Größe")
    written = (session.folder / ledger.LEDGER).read_text().splitlines()
    answer = ["event", "section", "structure", "how", "predicted", "length", "mask"]
    assert [list(json.loads(line))[3:] for line in written] == [
        ["event", "section", "structure", "how", "mask", "length"],
        [*answer, "seconds"],
        [*answer, "seconds", "predicted_seconds", "kept", "proposal_dice", "network"],
        [*answer, "corrects"],
        ["event", "section", "structure", "length"],
        ["event", "section", "structure", "reason"],
        ["event", "structure", "span"],
        ["event", "withdrawn"],
        ["event", "text"],
    ]
    assert all(list(json.loads(line))[:3] == ["form", "number", "time"] for line in written)
    assert '"span": [null, 4]' in written[6] and '"text": "Größe"' in written[8]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) for name in ("HB", "Rand")]
)
def test_a_session_asks_by_any_strategy_that_knows_no_truth(tmp_path, name):
    """As a simulation asks under the same key, if it waits for each training."""
    strategy = STRATEGIES[name]
    place = ts.create(tmp_path / "s", settings=Settings(0, ts.CONFIG, strategy))
    prepared = prepare(jax.random.key(0), ts.STACK, ts.CONFIG)
    network = runner.train_network(prepared, ts.CONFIG)
    records = runner.run_strategy(strategy, prepared, network, ts.CONFIG, max_effort=0.8)[1]
    with sessions.open_session(place) as session:
        for section, structure in np.argwhere(np.asarray(prepared.state.annotated)).tolist():
            ts.answer(session, section, structure)
        learn(session)
        for section, structure in zip(records.section[1:4], records.structure[1:4], strict=True):
            question = session.next_question()
            assert (question.section, question.structure) == (section, structure)
            ts.answer_question(session)
            learn(session)
