"""The transition table: every pair of state and cause is either a row or refused, and the rows keep the promises."""

from __future__ import annotations

import itertools

import pytest

from core.errors import IllegalTransition
from core.lifecycle import MAYBE_AT_VENUE, TERMINAL, TRANSITIONS, Cause, State, after, is_terminal

ALL_PAIRS = list(itertools.product(State, Cause))
FILLS = {Cause.FILL_PART, Cause.FILL_ALL}
ENDS = {Cause.END_PARTIAL, Cause.END_CANCELED, Cause.END_REJECTED, Cause.END_EXPIRED, Cause.END_FAILED}


@pytest.mark.parametrize(("state", "cause"), ALL_PAIRS)
def test_every_pair_is_a_row_or_is_refused(state: State, cause: Cause) -> None:
    """`after` follows the table; what the table lacks raises `IllegalTransition` naming both and what is possible."""
    if cause in TRANSITIONS[state]:
        assert TRANSITIONS[state][cause] == after(state, cause)
        return
    with pytest.raises(IllegalTransition) as error:
        after(state, cause)
    text = str(error.value)
    assert [state in text, cause in text] == [True, True]
    assert all(possible in text for possible in TRANSITIONS[state])


def test_the_table_has_every_state() -> None:
    """No state is forgotten, no state is made up; six of the states of F1 are terminal."""
    assert set(State) == set(TRANSITIONS)
    names = (
        "NEW RESERVED SENDING SENT PARTIAL UNKNOWN ERROR RETRY CANCELING "
        "FILLED PARTIAL_SUCCESS CANCELED REJECTED EXPIRED FAILED_FINAL"
    )
    assert names.split() == [state.value for state in State]
    assert set(names.split()[-6:]) == {state.value for state in TERMINAL}


def reachable(start: State) -> set[State]:
    found, todo = {start}, [start]
    while todo:
        for follower in TRANSITIONS[todo.pop()].values():
            if follower not in found:
                found.add(follower)
                todo.append(follower)
    return found


@pytest.mark.parametrize("state", [state for state in State if state not in TERMINAL])
def test_every_open_state_can_end(state: State) -> None:
    """I7: from wherever an intent stands there is a way to a terminal state."""
    assert reachable(state) & TERMINAL


def test_every_state_can_be_reached() -> None:
    """No row of the table is dead."""
    assert set(State) == reachable(State.NEW)


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_only_fills_move_an_ended_intent(state: State) -> None:
    """F4: a terminal state takes fills and nothing else, and never becomes open again."""
    assert set(TRANSITIONS[state]) <= FILLS
    assert set(TRANSITIONS[state].values()) <= {State.PARTIAL_SUCCESS, State.FILLED}


@pytest.mark.parametrize("state", sorted(TERMINAL - {State.FILLED}))
def test_every_ended_intent_takes_late_fills(state: State) -> None:
    """F4: whichever way it ended without being filled, a late fill has a row."""
    assert set(TRANSITIONS[state]) == FILLS


@pytest.mark.parametrize("state", sorted(MAYBE_AT_VENUE))
def test_wherever_an_order_may_live_fills_are_taken(state: State) -> None:
    """F4: a fill is possible in every state in which the venue may have the order."""
    assert set(TRANSITIONS[state]) >= FILLS


def test_an_unproven_outcome_never_leads_to_a_new_attempt() -> None:
    """F3: from UNKNOWN and SENDING a new attempt or an end without proof has no row."""
    proofs = {Cause.ACK, Cause.REFUSE, *FILLS}
    assert set(TRANSITIONS[State.UNKNOWN]) == proofs
    assert set(TRANSITIONS[State.SENDING]) == proofs | {Cause.LOSE_TRACK}
    assert not {State.SENDING, State.RETRY} & set(TRANSITIONS[State.UNKNOWN].values())


def test_sending_begins_only_from_where_nothing_is_at_the_venue() -> None:
    """SEND has a row from RESERVED and RETRY alone."""
    assert {state for state in State if Cause.SEND in TRANSITIONS[state]} == {State.RESERVED, State.RETRY}


@pytest.mark.parametrize("state", list(State))
def test_all_filled_means_filled(state: State) -> None:
    """F5: FILL_ALL leads to FILLED from everywhere."""
    assert TRANSITIONS[state].get(Cause.FILL_ALL, State.FILLED) is State.FILLED


@pytest.mark.parametrize("cause", sorted(ENDS))
def test_an_end_leads_to_its_own_terminal_state(cause: Cause) -> None:
    """Each END_* cause has one result wherever it is possible."""
    results = {TRANSITIONS[state][cause] for state in State if cause in TRANSITIONS[state]}
    assert len(results) == 1
    assert results <= TERMINAL


def test_partial_never_ends_as_if_nothing_was_filled() -> None:
    """An attempt that filled in part has no row to an end without fill."""
    ends = {cause for cause in TRANSITIONS[State.PARTIAL] if cause in ENDS}
    assert ends == {Cause.END_PARTIAL}


def test_terminal_is_what_the_set_says() -> None:
    """`is_terminal` and `TERMINAL` agree."""
    assert {state for state in State if is_terminal(state)} == TERMINAL


def test_the_table_cannot_be_changed() -> None:
    """The table is read-only."""
    with pytest.raises(TypeError):
        TRANSITIONS[State.NEW] = {}  # type: ignore[index]
