"""Real processes for system tests: a daemon, the command line, and the certainty that nothing outlives a test.

Every process started here carries a mark in its environment, which its children inherit, so that `Marked` finds and
ends all of them by their own ids, whatever else runs on the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib import request

import psutil

ROOT = Path(__file__).resolve().parents[2]
MARK_VARIABLE = "INTENTD_TEST_MARK"
COMMAND_TIMEOUT_S = 100.0
PATIENCE_S = 60.0
"""What must come comes within seconds; a machine that is slow has long for it."""
POLL_S = 0.02

Completed = subprocess.CompletedProcess[str]


def until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """The first true value of `condition`; fails, naming `what`, when the time is over."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        pause.wait(POLL_S)
    return value


class Marked:
    """Starts processes that can all be found again."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """With the marks of whoever started us, so that they find what we start, too."""
        marks = " ".join(filter(None, (os.environ.get(MARK_VARIABLE), self.mark)))
        return os.environ | {MARK_VARIABLE: marks, "PYTHONPATH": str(ROOT), **(extra or {})}

    def alive(self) -> list[psutil.Process]:
        """Every living process with the mark."""
        return [process for process in psutil.process_iter() if self._is_marked(process)]

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            marks = process.environ().get(MARK_VARIABLE, "").split()
            return process.status() != psutil.STATUS_ZOMBIE and self.mark in marks
        except psutil.Error:
            return False

    def end_all(self) -> None:
        """Kill what is left; a test that leaves something on purpose calls this itself."""
        until(self._ended, "killed processes are gone")

    def _ended(self) -> bool:
        """Whether nobody is left; who is, or was forked meanwhile, is killed."""
        left = self.alive()
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return not left

    def run(self, *arguments: str, extra: Mapping[str, str] | None = None, cwd: Path | None = None) -> Completed:
        """Run `python ARGUMENTS` to its end."""
        return subprocess.run(
            [sys.executable, *arguments],
            env=self.environment(extra),
            cwd=cwd or ROOT,
            text=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def start(
        self, *arguments: str, extra: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> subprocess.Popen[str]:
        """Start `python ARGUMENTS` in a session of its own."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environment(extra),
            cwd=cwd or ROOT,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


@contextlib.contextmanager
def marked() -> Iterator[Marked]:
    """Nothing started in the block outlives it."""
    processes = Marked()
    try:
        yield processes
    finally:
        processes.end_all()


class Daemon:
    """`intentd up` on a state folder, and `intentctl` for it."""

    def __init__(self, processes: Marked, state: Path, extra: Mapping[str, str] | None = None) -> None:
        self.processes = processes
        self.state = state
        self.extra = dict(extra or {})
        self.process: subprocess.Popen[str] | None = None
        self.ready_line = ""
        self.output = ""

    def start(self, *options: str) -> None:
        self.process = self.processes.start("run.py", "up", "--state", str(self.state), *options, extra=self.extra)
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        if "ready" not in self.ready_line:
            out, err = self.process.communicate(timeout=COMMAND_TIMEOUT_S)
            raise AssertionError(f"not ready: {self.ready_line}{out}{err}")

    def stop(self) -> int:
        """TERM and wait; returns the exit code."""
        assert self.process is not None
        self.process.terminate()
        out, err = self.process.communicate(timeout=COMMAND_TIMEOUT_S)
        self.output += self.ready_line + out + err
        return self.process.returncode

    def ctl(self, *arguments: str) -> Completed:
        """`intentctl ARGUMENTS` on this state folder."""
        return self.processes.run("-m", "tools.intentctl", "--state", str(self.state), *arguments, extra=self.extra)

    def ask(self, *arguments: str) -> Any:
        """The JSON value that a command prints."""
        done = self.ctl(*arguments, "--json")
        assert done.stdout, f"{arguments}: {done.stderr}"
        return json.loads(done.stdout)

    def submit(self, **options: Any) -> dict[str, Any]:
        """`submit --json` with options by name; True stands for a flag."""
        words: list[str] = []
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
        answer: dict[str, Any] = self.ask("submit", *words)
        return answer

    @property
    def engine_file(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.state / "run" / "engine.json").read_text())
        return content

    def venue(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Ask or tell the bundled simulator under `/_sim`."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.engine_file['venue_url']}/_sim/{path}"
        call = request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})  # noqa: S310
        with request.urlopen(call, timeout=COMMAND_TIMEOUT_S) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")
