"""`intentd up` as a process of its own, which may be killed and is started again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from core.errors import StartupFailed
from storage.layout import StateFolder
from tools.crew import Crew
from tools.trial.settings import toml

ROOT: Final = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0
KILL_TIMEOUT_S: Final = 10.0


class Daemon:
    """On one state folder, against one venue. A context: it is stopped at the end."""

    def __init__(
        self,
        folder: StateFolder,
        venue_url: str,
        environment: dict[str, str] | None = None,
        *,
        user_stream: bool = True,
    ) -> None:
        self.folder = folder
        self.starts = 0
        self._environment = environment or {}
        self._config = folder.root / "trial.toml"
        self._output = folder.root / "trial.out"
        self._crew = Crew(folder.crew_file)
        self._process: subprocess.Popen[bytes] | None = None
        folder.root.mkdir(parents=True, exist_ok=True)
        self._config.write_text(toml(venue_url, user_stream=user_stream))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Returns at once; `is_ready` tells."""
        self.starts += 1
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  (ourselves)
                [
                    sys.executable, str(ROOT / "run.py"), "up",
                    "--state", str(self.folder.root), "--config", str(self._config),
                ],
                cwd=ROOT,
                env=os.environ | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )  # fmt: skip

    @property
    def lives(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def keep_alive(self) -> None:
        """Start it again if it has died."""
        if not self.lives:
            self.start()

    def processes(self) -> list[psutil.Process]:
        """The launcher, if it lives, and every actor process, in the order of their ids."""
        found = self._crew.members()
        if self.lives and self._process is not None and self._process.pid not in {one.pid for one in found}:
            found.append(psutil.Process(self._process.pid))
        return sorted(found, key=lambda process: process.pid)

    @property
    def launcher_pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def stop(self) -> None:
        """Gracefully. Raises `StartupFailed` with what it said when it does not end."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise StartupFailed(f"the daemon did not stop; it said: {self.said()}") from None

    def kill(self) -> None:
        """The launcher and whatever else there is."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._crew.kill()

    def said(self) -> str:
        """The end of its output."""
        return self._output.read_text(errors="replace")[-1_000:] if self._output.exists() else ""


def wait_until_gone(pid: int, timeout_s: float = KILL_TIMEOUT_S) -> None:
    """Until a process that was killed has ended, or the time is over."""
    deadline = time.monotonic() + timeout_s
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        time.sleep(0.005)
