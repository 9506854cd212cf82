"""What an actor's manager knows of its children."""

from __future__ import annotations

from actors.manager import Manager


class Process:
    """Of a child; as much of it as a manager looks at."""

    def __init__(self, *, lives: bool) -> None:
        self.lives = lives

    def is_alive(self) -> bool:
        return self.lives

    def join(self, _timeout_s: float) -> None:
        pass


class Child:
    def __init__(self, name: str, *, lives: bool) -> None:
        self.childAddr = f"local {name}"
        self.childRealAddr = name
        self.childProc = Process(lives=lives)


def test_a_child_whose_death_nobody_has_told_yet_is_not_forgotten() -> None:
    """Two die within a moment: when the first one's death is told, the second one's must still be found."""
    manager = Manager.__new__(Manager)
    manager._child_procs = [Child("first", lives=False), Child("second", lives=False), Child("third", lives=True)]
    manager._childExited("first")
    assert [child.childRealAddr for child in manager._child_procs] == ["second", "third"]
    manager._childExited("third")  # it says so itself, and its process has not ended yet
    assert [child.childRealAddr for child in manager._child_procs] == ["second", "third"]
