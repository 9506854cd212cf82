"""A pytest plugin that puts a system base of ours where thespian's test suite has its own.

The suite takes its bases by name from a fixture's parameters and imports them as `thespian.system.<name>`; it gives log
definitions to names that begin with `multiproc`, and ports and a convention to those that begin with `multiprocTCP`.
So our Unix base gets a name of its own, while the hardened TCP base is thespian's own with parts of it replaced.

Tests of several systems that form a convention over a network are left to TCP: the suite's own marks tell which they
are, because thespian's queue base, which has no network either, does not support them.

Ours are imported only where they are tested: they change thespian, and its own base is to be as it is.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from thespian import test as suite
from thespian.actors import ActorSystem

from tests.thespian_suite.bases import BASE_VARIABLE, NAMES, TCP_NAME, UNIX_NAME

WITHOUT_NETWORK = "multiprocQueueBase"
WITH_NETWORK = "multiprocUDPBase"
CONVENTION = "a convention of several systems over a network: stays with TCP"
WAKEUP_S = 0.65
"""Ten times as long as the suite has it: two questions must be answered meanwhile."""
OTHERS = ("simpleSystemBase", "multiprocQueueBase", "multiprocUDPBase", "multiprocTCPBase")

base = os.environ[BASE_VARIABLE]
name = NAMES[base]
folders: list[str] = []
similar = suite.similar_asys
unsupported = suite.actor_system_unsupported


def install() -> None:
    if base == "unix":
        sys.modules[f"thespian.system.{UNIX_NAME}"] = import_module("actors.transport")
    elif base == "tcp":
        ours = import_module("actors.loopback_tcp")  # replaces them
        ours.use_secret(os.urandom(ours.SECRET_BYTES))


def started(capabilities: dict[str, Any]) -> Any:
    if base == "unix":
        folders.append(f"{tempfile.gettempdir()}/suite-{secrets.token_hex(8)}")  # the suite allows no `_` in addresses
        Path(folders[-1]).mkdir(mode=0o700)
        capabilities["Socket Folder"] = folders[-1]
    system = ActorSystem(name, capabilities, logDefs=suite.simpleActorTestLogging(), transientUnique=True)
    system.base_name, system.port_num, system.txonly = name, capabilities.get("Admin Port"), False
    return system


@pytest.fixture(params=[name])
def asys() -> Iterator[Any]:
    """In place of the suite's fixture of this name."""
    capabilities: dict[str, Any] = {"Foo Allowed": True, "Cows Allowed": True, "Dogs Allowed": True, "dog": "food"}
    if name == TCP_NAME:
        port = suite.get_free_admin_port()
        capabilities |= {"Admin Port": port, "Convention Address.IPv4": ("", port)}
    system = started(capabilities)
    yield system
    system.shutdown()


def similar_system(
    system: Any, in_convention: bool = True, start_wait: bool = True, capabilities: dict[str, Any] | None = None
) -> Any:
    """In place of the suite's: on Unix sockets a second system knows nothing of the first."""
    if base == "unix":
        return started(dict(capabilities or {}))
    return similar(system, in_convention, start_wait, capabilities)


def is_unsupported(system: Any, *bases: str) -> None:
    """In place of the suite's: skips what needs a network."""
    if base == "unix" and WITHOUT_NETWORK in bases and WITH_NETWORK not in bases:
        pytest.skip(CONVENTION)
    unsupported(system, *bases)


def pytest_configure() -> None:
    install()
    suite.asys, suite.similar_asys, suite.actor_system_unsupported = asys, similar_system, is_unsupported


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--unstable", action="store_true", default=False, help="the suite's own option")


def slow_down(module: Any) -> None:
    """The suite's own levers for machines that are slow, which its tests of timers recommend to pull."""
    module.wakeupAfterPeriod = timedelta(seconds=WAKEUP_S)
    module.sleepLongerThanWakeup = lambda _system: threading.Event().wait(3 * WAKEUP_S)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop the cases of other bases, where a test brings its own list of them."""
    for module in {item.module for item in items if isinstance(item, pytest.Function)}:
        if hasattr(module, "wakeupAfterPeriod"):
            slow_down(module)
    foreign = [item for item in items if any(other in item.nodeid for other in OTHERS if other != name)]
    items[:] = [item for item in items if item not in foreign]
    config.hook.pytest_deselected(items=foreign)


def pytest_unconfigure() -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
