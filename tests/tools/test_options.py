"""How a command line ends: one line on stderr for people, one JSON object for machines, and the error's exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click
import pytest

from core.errors import EngineNotRunning, IntentdError, InvalidInput
from tools.options import Shared, run, shared_options

Failing = Callable[[], Any]


def raising(error: BaseException) -> Failing:
    def fail() -> None:
        raise error

    return fail


def ended(monkeypatch: pytest.MonkeyPatch, fail: Failing, *words: str) -> int:
    """Exit code of a command that fails so."""

    @click.group()
    @shared_options
    def cli(_shared: Shared) -> None:
        pass

    @cli.command()
    @shared_options
    def act(_shared: Shared) -> None:
        fail()

    monkeypatch.setattr(sys, "argv", ["intentctl", *words])
    with pytest.raises(SystemExit) as stopped:
        run(cli, "intentctl")
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


ERRORS = {
    "ours": (EngineNotRunning("no engine runs on /s; start it"), 3, "no engine runs on /s; start it", "start it"),
    "no remedy": (IntentdError("it failed"), 1, "it failed", None),
    "input": (InvalidInput("qty", -1, "must be positive", "give one"), 2, None, "give one"),
    "path": (PermissionError(13, "denied", "/s"), 2, "/s: denied; mend it or choose another path", None),
    "stopped": (KeyboardInterrupt(), 130, "stopped", None),
}


@pytest.mark.parametrize("words", [("--json", "act"), ("act", "--json")])
@pytest.mark.parametrize("name", ERRORS)
def test_with_json_an_error_is_one_object_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, words: tuple[str, ...]
) -> None:
    """What was wrong, what to do about it, and the exit code; nothing on stdout."""
    error, code, text, remedy = ERRORS[name]
    assert ended(monkeypatch, raising(error), *words) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.strip().count("\n") == 0  # click ends the line that a terminal shows ^C on
    told = json.loads(shown.err)
    assert set(told) == {"error", "remedy", "exit_code"}
    assert told["exit_code"] == code
    assert text is None or told["error"] == text
    assert remedy is None or told["remedy"] == remedy
    assert told["remedy"] is None or told["error"].endswith(told["remedy"])


def test_with_json_a_wrong_command_line_is_one_object_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is told where the command is explained."""
    assert ended(monkeypatch, raising(IntentdError("never")), "act", "--bogus", "--json") == 2
    told = json.loads(capsys.readouterr().err)
    assert "--bogus" in told["error"]
    assert told["remedy"] == "see `intentctl act --help`"
    assert told["exit_code"] == 2


def test_with_json_an_unknown_command_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever mark the parser's own words end with."""
    assert ended(monkeypatch, raising(IntentdError("never")), "--json", "frob") == 2
    what, _, where = json.loads(capsys.readouterr().err)["error"].rpartition("; ")
    assert where == "see `intentctl --help`"
    assert "frob" in what
    assert what == what.rstrip(".\n")


def test_without_json_an_error_is_one_line_of_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As people read it."""
    assert ended(monkeypatch, raising(EngineNotRunning("no engine runs; start it")), "act") == 3
    assert capsys.readouterr().err == "Error: no engine runs; start it\n"
    assert ended(monkeypatch, raising(KeyboardInterrupt()), "act") == 130
    assert capsys.readouterr().err.strip() == "stopped"
