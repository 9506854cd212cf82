"""How much memory processes really take: PSS, in which a page that several share counts for each in part.

The book's pages that LMDB has mapped count too (`file`); they are the operating system's cache and are given back when
somebody needs the room. What a process itself has taken is `anon`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import psutil

KIB_PER_MIB = 1024


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    """Of all of them together, MiB."""
    return float(sum(process.memory_full_info().pss for process in processes) / (1 << 20))


def own_mb() -> dict[str, float]:
    """Of this process, MiB: `pss`, and of it `anon` and `file`."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    found = {name: int(kib) for name, kib in re.findall(r"^(\w+): +(\d+) kB", rollup, re.MULTILINE)}
    names = {"pss": "Pss", "anon": "Pss_Anon", "file": "Pss_File"}
    return {name: round(found[kernel] / KIB_PER_MIB, 1) for name, kernel in names.items()}
