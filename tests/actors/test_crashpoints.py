"""The list of crash points is true: each point is one that the code can come to."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors import crashpoints
from actors.engine import Engine
from actors.gateway import Gateway
from actors.portfolio import Portfolio
from actors.reconciler import Reconciler
from actors.router import OrderRouter
from actors.scribe import Scribe

ROOT = Path(__file__).parents[2]
ACTORS = {actor.name: actor for actor in (Engine, Gateway, Portfolio, Reconciler, OrderRouter, Scribe)}


@pytest.mark.parametrize("actor", crashpoints.RECEIVES)
def test_every_receive_has_its_handler(actor: str) -> None:
    """A message that nobody handles any more would never be visited."""
    handlers = {name.removeprefix("receiveMsg_") for name in dir(ACTORS[actor])}
    assert set(crashpoints.RECEIVES[actor]) - handlers == set()


def test_every_write_is_in_the_code() -> None:
    """Each name of `WRITES` is reached in exactly one place, and none is reached that is not listed."""
    reached = []
    for path in sorted((ROOT / "actors").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
                assert isinstance(node.args[0], ast.Constant)
                reached.append(node.args[0].value)
    assert sorted(reached) == sorted(crashpoints.WRITES)


def test_who_gets_there_dies_once(tmp_path: Path) -> None:
    """The process ends as by kill -9 at the wanted visit, and its successor goes on."""
    file = tmp_path / "point"
    crashpoints.arm(file, "scribe write: before", 2)
    code = "from actors.crashpoints import reach\nfor n in range(3):\n reach('scribe write: before')\n print(n)"
    environment = os.environ | {crashpoints.VARIABLE: str(file), "PYTHONPATH": str(ROOT)}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-u", "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    first, second = run(), run()
    assert (first.returncode, first.stdout.split()) == (-signal.SIGKILL, ["0"])
    assert (second.returncode, second.stdout.split()) == (0, ["0", "1", "2"])
    assert not file.exists()
