"""The simulation as part of the test run: hundreds of seeds hold, every planted bug is found, a seed is one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.weather import Mood

ROOT = Path(__file__).parents[2]
SEEDS = 300
RESTLESS_SEEDS = 60
MOOD_SEEDS = 60
TIMEOUT_S = 1_800
"""The bugs take minutes, and a multiple of that on a machine that is slow."""


def simulate(*arguments: str, hash_seed: str = "random") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.timeout(TIMEOUT_S)
def test_every_promise_holds_over_hundreds_of_seeds() -> None:
    """Messages lost, repeated and late, a venue that misbehaves, processes killed anywhere: nothing is broken."""
    done = simulate("--seeds", str(SEEDS), "--json")
    figures: dict[str, Any] = json.loads(done.stdout)
    assert figures["failing"] == []  # each names its seed and the command that replays it
    assert (figures["seeds"], figures["violations"], done.returncode) == (SEEDS, 0, 0)
    assert min(figures["crashes"], figures["faults"]) > SEEDS  # it was not calm weather


@pytest.mark.timeout(TIMEOUT_S)
def test_orders_are_replaced_and_never_two_of_an_intent_live() -> None:
    """Under crossing fills and kills, whatever clients want next: no promise is broken, and it was done often."""
    done = simulate("--seeds", str(RESTLESS_SEEDS), "--restless", "--json")
    figures: dict[str, Any] = json.loads(done.stdout)
    assert (figures["failing"], figures["seeds"], done.returncode) == ([], RESTLESS_SEEDS, 0)
    assert figures["replacements"] > RESTLESS_SEEDS


@pytest.mark.timeout(TIMEOUT_S)
@pytest.mark.parametrize("mood", [Mood.STOPPING, Mood.BLIND, Mood.OUTLIVED])
def test_every_promise_holds_where_every_run_is_full_of(mood: Mood) -> None:
    """Stops, questions about the account in vain, parts that outlive their end: what is rare elsewhere."""
    done = simulate("--seeds", str(MOOD_SEEDS), "--mood", mood, "--json")
    figures: dict[str, Any] = json.loads(done.stdout)
    assert (figures["failing"], figures["mood"], figures["seeds"], done.returncode) == ([], mood, MOOD_SEEDS, 0)
    if mood is Mood.STOPPING:
        assert figures["stops"] > MOOD_SEEDS


@pytest.mark.timeout(TIMEOUT_S)
def test_every_planted_bug_is_found() -> None:
    """A check that cannot fail proves nothing: each of the bugs breaks a promise within 300 seeds."""
    done = simulate("--planted", "--json")
    figures: dict[str, Any] = json.loads(done.stdout)
    assert figures["missed"] == []
    assert figures["planted"] == len(figures["found"]) >= 30
    assert done.returncode == 0


def test_a_seed_is_one_run() -> None:
    """Two replays of it print the same steps, whatever Python's own hashing draws."""
    first, second = (simulate("--seed", "7", "--trace", hash_seed=drawn) for drawn in ("1", "2"))
    assert first.stdout == second.stdout
    assert len(first.stdout.splitlines()) > 100
    assert first.returncode == second.returncode == 0


def test_wrong_arguments_are_refused() -> None:
    """With what would be right, and exit code 2."""
    done = simulate("--seeds", "-3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "-3" in done.stderr
