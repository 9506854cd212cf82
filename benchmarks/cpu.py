"""CPU time by part of the system, from the operating system's own accounts of each process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import psutil

from benchmarks.processes import Processes
from messages.admin import StatusReported

ROUTERS = "routers"
REST = "launcher and thespian"
"""Marked processes that are nobody else: `run.py up`, thespian's admin and logger."""


def parts_of(processes: Processes, status: StatusReported, others: Mapping[str, int]) -> dict[str, list[int]]:
    """Process ids by part: what the engine reports of its children, `others` by name, and what is left."""
    parts: dict[str, list[int]] = defaultdict(list)
    for child in status.children:
        parts[ROUTERS if child.name.startswith("router ") else child.name].append(child.pid)
    for name, pid in others.items():
        parts[name].append(pid)
    known = {pid for pids in parts.values() for pid in pids}
    parts[REST] = [process.pid for process in processes.alive() if process.pid not in known]
    return dict(parts)


class Meter:
    """Adds up the CPU time of laps, by part."""

    def __init__(self, parts: Mapping[str, Iterable[int]]) -> None:
        self._parts = {name: [psutil.Process(pid) for pid in pids] for name, pids in parts.items()}
        self._began: dict[str, float] = {}
        self.seconds: dict[str, float] = dict.fromkeys(self._parts, 0.0)

    def begin(self) -> None:
        self._began = self._now()

    def end(self) -> None:
        for name, value in self._now().items():
            self.seconds[name] += value - self._began[name]

    def _now(self) -> dict[str, float]:
        return {name: sum(map(_seconds, processes)) for name, processes in self._parts.items()}


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
