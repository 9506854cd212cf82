"""`--faults` takes names, all or none, and says what is wrong with anything else."""

from __future__ import annotations

import pytest

from core.errors import SettingsError
from exchange.simulator.faults import FAULTS as KNOWN
from exchange.simulator.faults import Faults
from tools.trial.faults import FAULTS, rules


def test_every_rule_is_one_the_simulator_takes() -> None:
    """The set is checked by the simulator's own reader, and leaves no fault of it out."""
    Faults().set(rules("all", 7))
    assert FAULTS.keys() == KNOWN.keys()


def test_none_is_no_rule_and_names_are_those() -> None:
    """With the run's seed, so that the same run meets the same venue."""
    assert rules("none", 7) == {}
    assert rules("outage, answer_lost", 7).keys() == {"seed", "outage", "answer_lost"}


@pytest.mark.parametrize(("text", "word"), [("answer_los", "answer_lost"), ("nonsense-xyz", "all"), ("", "none")])
def test_a_wrong_name_is_refused_with_the_nearest(text: str, word: str) -> None:
    """The error names the value and what would be right."""
    with pytest.raises(SettingsError, match=word):
        rules(text, 7)
