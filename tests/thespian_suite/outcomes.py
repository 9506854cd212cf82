"""Running a file of thespian's suite on a base, and what became of its tests."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import thespian.test

from tests.thespian_suite.bases import BASE_VARIABLE

SUITE = Path(thespian.test.__file__).parent
ROOT = Path(__file__).resolve().parents[2]
FILE_TIMEOUT_S = 600
PASSED, SKIPPED, FAILED = KINDS = ("passed", "skipped", "failed")
OF_A_CASE = {"failure": FAILED, "error": FAILED, "skipped": SKIPPED}
PLUGIN = "tests.thespian_suite.plugin"
WHY_MAX = 160

Outcomes = dict[str, tuple[str, str]]
"""Test → (one of KINDS, why)."""


def run_file(base: str, file: Path) -> Outcomes:
    """The outcomes of one file's tests on a base, in a process and a folder of their own."""
    with folder_of_its_own() as folder:
        report, settings = Path(folder) / "report.xml", Path(folder) / "pytest.ini"
        settings.write_text("[pytest]\n")
        options = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "-p", PLUGIN, "-c", str(settings)]
        command = [sys.executable, "-m", "pytest", *options, f"--junitxml={report}", str(file)]
        environment = os.environ | {BASE_VARIABLE: base, "PYTHONPATH": str(ROOT), "TMPDIR": folder}
        try:
            subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, timeout=FILE_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return {file.stem: (FAILED, f"not done within {FILE_TIMEOUT_S} s")}
        return read_report(report, file.stem)


@contextmanager
def folder_of_its_own() -> Iterator[str]:
    """Without a `_` in its name, which a temporary one may have and a test of the suite allows in no address."""
    folder = Path(tempfile.gettempdir()) / f"suite-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o700)
    try:
        yield str(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_report(report: Path, file: str) -> Outcomes:
    """From pytest's JUnit report."""
    if not report.exists():
        return {file: (FAILED, "pytest ended without a report")}
    found: Outcomes = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  (pytest's own report)
        marks = [(OF_A_CASE[mark.tag], mark.get("message") or "") for mark in case if mark.tag in OF_A_CASE]
        kind, why = marks[0] if marks else (PASSED, "")
        in_class = (case.get("classname") or "").rpartition(".")[2]
        found[f"{file}::{in_class}::{case.get('name')}"] = (kind, why.partition("\n")[0][:WHY_MAX])
    return found


def counts(outcomes: Outcomes) -> Counter[str]:
    return Counter(kind for kind, _ in outcomes.values())


def by_reason(outcomes: Outcomes, kind: str) -> dict[str, list[str]]:
    """Why tests were skipped or failed → which."""
    found: dict[str, list[str]] = {}
    for name, (of_kind, why) in outcomes.items():
        if of_kind == kind:
            found.setdefault(why, []).append(name)
    return found


def worse(reference: Outcomes, outcomes: Outcomes) -> list[str]:
    """Tests that pass in the reference and fail here. Variants of a base (`-AdminRouting`) are not compared."""
    passed = {_plain(name) for name, (kind, _) in reference.items() if kind == PASSED and "-Admin" not in name}
    return sorted(name for name, (kind, _) in outcomes.items() if kind == FAILED and _plain(name) in passed)


def _plain(name: str) -> str:
    """Without the base's name."""
    return re.sub(r"\[.*\]$", "", name)
