"""The processes that a benchmark starts, and the certainty that none outlives it.

Each carries a mark in its environment, which whatever it forks inherits, actors that leave their parent included. So
all of them are found, measured and ended by their own ids, and nobody else's process is touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import psutil

from benchmarks.errors import BenchmarkFailed
from benchmarks.lines import Lines

ROOT = Path(__file__).resolve().parents[1]
MARK_VARIABLE = "INTENTD_BENCHMARK_MARK"
NOT_INHERITED = (
    "INTENTD_API_KEY",
    "INTENTD_API_SECRET",
    "INTENTD_SIM_API_KEY",
    "INTENTD_SIM_API_SECRET",
    "INTENTD_STATE",
)
"""A benchmark trades on the simulator with the simulator's own keys, whatever the user has set."""
POLL_S = 0.02
END_TIMEOUT_S = 10.0
ERROR_LENGTH_MAX = 2_000
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
"""Loaded here: between fork and exec nothing may be loaded."""


class Processes:
    """Starts processes that can all be found again."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return kept | {"PYTHONPATH": path, "THESPLOG_FILE": os.devnull, MARK_VARIABLE: self.mark} | dict(extra or {})

    def start(
        self, *arguments: str, errors: IO[bytes], extra: Mapping[str, str] | None = None, dies_with_us: bool = False
    ) -> Any:
        """`python ARGUMENTS` with pipes for standard input and output.

        It gets a session of its own: Ctrl-C is for us, who end it in order. With `dies_with_us` it gets TERM when this
        process is killed and cannot; the others end by themselves when their work or their input does.
        """
        return subprocess.Popen(  # noqa: S603  (our own modules, and options that are not a shell's)
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.environment(extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
            preexec_fn=_die_with_parent if dies_with_us else None,  # noqa: PLW1509  (this process has no threads)
        )

    def call(
        self,
        module: str,
        options: Any,
        timeout_s: float,
        *,
        extra: Mapping[str, str] | None = None,
        heard: Callable[[], None] | None = None,
    ) -> Any:
        """Run a module of ours in a fresh process and return the value that it answers (`answer_with`).

        The answer comes in a file: a pipe would stay open in whatever the module forks. `heard` is called for each line
        that the module prints; only for one that forks nothing. Raises `BenchmarkFailed`.
        """
        deadline = time.monotonic() + timeout_s
        with tempfile.TemporaryDirectory(prefix="intentd-call-") as folder, tempfile.TemporaryFile() as errors:
            answer = Path(folder) / "answer.json"
            arguments = (str(answer), msgspec.json.encode(options).decode())
            process = self.start("-m", module, *arguments, errors=errors, extra=extra)
            try:
                lines = Lines(process)
                while heard is not None and lines.next(deadline - time.monotonic()):
                    heard()
                process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                raise BenchmarkFailed(f"{module} has not ended within {timeout_s:g} s{said(errors)}") from None
            finally:
                end(process, 0)
            if process.returncode != 0 or not answer.exists():
                raise BenchmarkFailed(f"{module} ended with {process.returncode}{said(errors)}")
            return msgspec.json.decode(answer.read_bytes())

    def alive(self) -> list[psutil.Process]:
        """Every living process with the mark."""
        return [process for process in psutil.process_iter() if self._is_marked(process)]

    def ours(self, pid: int) -> psutil.Process:
        """To be killed. Raises `BenchmarkFailed` for a process that nothing here has started."""
        process = psutil.Process(pid) if pid > 0 and psutil.pid_exists(pid) else None
        if process is None or not self._is_marked(process):
            raise BenchmarkFailed(f"process {pid} is none of this benchmark")
        return process

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and bool(process.environ().get(MARK_VARIABLE) == self.mark)
        except psutil.Error:
            return False

    def end_all(self) -> None:
        for process in self.alive():
            with contextlib.suppress(psutil.Error):
                process.kill()
        until(lambda: not self.alive(), "killed processes are gone", END_TIMEOUT_S)


@contextlib.contextmanager
def started() -> Iterator[Processes]:
    """Nothing started in the block outlives it."""
    processes = Processes()
    try:
        yield processes
    finally:
        processes.end_all()


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def options_of(kind: type[Any], arguments: list[str]) -> Any:
    """In a process made by `call`: its options."""
    return msgspec.json.decode(arguments[1], type=kind)


def answer_with(value: Any, arguments: list[str]) -> None:
    """In a process made by `call`: what it returns."""
    Path(arguments[0]).write_bytes(msgspec.json.encode(value))


def until(condition: Callable[[], Any], what: str, timeout_s: float) -> Any:
    """The first true value of `condition`. Raises `BenchmarkFailed`, naming `what`, when the time is over."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"not within {timeout_s:g} s: {what}")
        pause.wait(POLL_S)
    return value


def end(process: subprocess.Popen[bytes], patience_s: float) -> int:
    """End it, politely first if there is patience; may be called again. Returns its exit status."""
    if process.poll() is None and patience_s > 0:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    return process.returncode


def said(errors: IO[bytes]) -> str:
    """The end of what a process wrote to standard error, for the text of a failure."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - ERROR_LENGTH_MAX))
    text = errors.read().decode(errors="replace").strip()
    return f": {text}" if text else ""
