"""What an operator says holds, whoever hangs or dies while it is said: it is asked for until somebody has heard."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from tests.system.harness import COMMAND_TIMEOUT_S, Daemon, until

CALM = """
[engine]
hang_timeout = "60s"
"""
"""Who hangs is not replaced by itself: the test says when."""


def pids(daemon: Daemon) -> dict[str, int]:
    return {child["name"]: child["pid"] for child in daemon.ask("status")["engine"]["children"]}


@pytest.mark.parametrize("part", ["portfolio", "engine"])
def test_a_halt_that_is_told_to_somebody_who_hangs_and_dies_holds_all_the_same(daemon: Daemon, part: str) -> None:
    """It is answered by whoever takes its place, stands in the book, and nothing is bought after it."""
    file = daemon.state.parent / "intentd.toml"
    file.write_text(CALM)
    daemon.start("--config", str(file))
    before = pids(daemon)[part]
    os.kill(before, signal.SIGSTOP)
    halting = daemon.processes.start(
        "-m", "tools.intentctl", "--state", str(daemon.state), "halt", "--reason", "now", "--json"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        halting.wait(1.5)
    os.kill(before, signal.SIGKILL)
    out, err = halting.communicate(timeout=COMMAND_TIMEOUT_S)
    assert (halting.returncode, json.loads(out)["state"]) == (0, "HALTED"), err
    until(lambda: pids(daemon).get(part, before) != before, "another one is there")
    refused = daemon.submit(symbol="BTC/USDT", side="buy", quote="30", market=True, key="after")
    assert refused["refusal"]["code"] == "TRADING_HALTED"
    assert daemon.venue("orders") == []
    assert daemon.ctl("resume", "--reason", "done").returncode == 0
    assert daemon.stop() == 0


def test_who_narrows_what_is_halted_is_told_that_sells_leave_again(daemon: Daemon) -> None:
    """It is allowed, and must not be taken for safer."""
    daemon.start()
    assert daemon.ask("halt", "--reason", "odd fills")["before"] == "ACTIVE"
    narrowed = daemon.ctl("reduce", "--reason", "to be safe")
    assert (narrowed.returncode, "was HALTED (odd fills): sells leave again" in narrowed.stdout) == (0, True)
    assert daemon.ask("halt", "--reason", "odd fills")["before"] == "REDUCING"
    assert daemon.stop() == 0


def test_where_nobody_will_answer_it_is_said_at_once(daemon: Daemon) -> None:
    """Exit code 3 without an engine; a time that is none is refused before anything is asked."""
    done = daemon.ctl("halt", "--reason", "now")
    assert (done.returncode, "no engine" in done.stderr) == (3, True), done.stderr
    for odd in ("nan", "inf", "-1", "0"):
        done = daemon.ctl("halt", "--reason", "now", "--timeout", odd)
        assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
