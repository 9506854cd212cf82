"""The machine that the figures belong to: what a reader needs to compare, and nothing that says whose it is."""

from __future__ import annotations

import os
import platform
import re
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.quantiles import median, milliseconds

LIBRARIES = ("thespian", "ccxt", "aiohttp", "msgspec", "lmdb")
DURABLE_WRITES = 50
PAGE_BYTES = 4_096
GIB = 1 << 30


def describe() -> dict[str, Any]:
    """Takes a moment: it asks the disk how long a durable write takes, which decides more than the processor does."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "durable_write_ms": _durable_write_ms(),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def line(machine: dict[str, Any]) -> str:
    """The same as one sentence."""
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; a durable write of one page takes "
        f"{machine['durable_write_ms']} ms; load {machine['load_before']} before; {machine['kernel']}, "
        f"Python {machine['python']}, {libraries}."
    )


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _durable_write_ms() -> float:
    """The median of some, where the benchmarks keep their books."""
    taken_ns = []
    with tempfile.TemporaryFile() as file:
        for _ in range(DURABLE_WRITES):
            began_ns = time.monotonic_ns()
            os.pwrite(file.fileno(), bytes(PAGE_BYTES), 0)
            os.fdatasync(file.fileno())
            taken_ns.append(time.monotonic_ns() - began_ns)
    return milliseconds(median(taken_ns))


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "unknown"
