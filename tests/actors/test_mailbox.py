"""The mailbox: whole messages, in order, never dropped, at any size, below any path; the dead are noticed at once."""

from __future__ import annotations

import array
import os
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.doors import ADDRESS_MAX, SLOTS, is_read
from actors.mailbox import INLINE_MAX, Mailbox, Put


def taken(box: Mailbox) -> list[tuple[str, bytes | None]]:
    """Everything that is in a mailbox now."""
    return list(iter(box.take, None))


@pytest.fixture
def boxes(tmp_path: Path) -> tuple[Mailbox, Mailbox]:
    return Mailbox.fresh(tmp_path), Mailbox.fresh(tmp_path)


def fill(sender: Mailbox, target: str) -> int:
    """Put until the mailbox is full; how many it took."""
    for number in range(10_000):
        if sender.put(target, str(number).encode()) is Put.FULL:
            return number
    raise AssertionError("a mailbox that is never full")


def left_behind(path: Path) -> Path:
    """What a killed process leaves: its files."""
    for slot in range(SLOTS):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(f"{path}.{slot}")
    return path


@pytest.mark.parametrize(
    "size", [0, 1, 1_000, INLINE_MAX - 1, INLINE_MAX, INLINE_MAX + 1, 300_000, 20_000_000], ids=str
)
def test_a_message_arrives_whole_with_its_sender(boxes: tuple[Mailbox, Mailbox], size: int) -> None:
    """Of any size, beyond a datagram too, byte by byte."""
    here, there = boxes
    payload = os.urandom(min(size, 4_096)) * (size // 4_096 + 1)
    assert here.put(there.path, payload[:size]) is Put.DONE
    assert taken(there) == [(here.path, payload[:size])]


def test_large_and_small_messages_keep_their_order(boxes: tuple[Mailbox, Mailbox]) -> None:
    """A large message does not lose its place, though it travels differently."""
    here, there = boxes
    sent = [bytes([number]) * size for number, size in enumerate([1, INLINE_MAX + 1, 2, 100_000, 3])]
    assert [here.put(there.path, payload) for payload in sent] == [Put.DONE] * len(sent)
    assert [payload for _, payload in taken(there)] == sent


def test_a_full_mailbox_says_so_and_drops_nothing(boxes: tuple[Mailbox, Mailbox]) -> None:
    """What was taken is what is read, and once it is read there is room again."""
    here, there = boxes
    count = fill(here, there.path)
    assert count > 0
    assert [payload for _, payload in taken(there)] == [str(number).encode() for number in range(count)]
    assert here.put(there.path, b"again") is Put.DONE


def test_a_door_is_writable_exactly_when_there_is_room(boxes: tuple[Mailbox, Mailbox]) -> None:
    """That is how a sender waits for a full mailbox, without asking again and again."""
    here, there = boxes
    fill(here, there.path)
    door = here.door_to(there.path)
    assert door is not None
    poll = select.poll()
    poll.register(door, select.POLLOUT)
    assert poll.poll(0) == []
    there.take()
    assert [event for _, event in poll.poll(1_000)] == [select.POLLOUT]
    assert here.put_through(door, there.path, b"through") is Put.DONE
    assert taken(there)[-1] == (here.path, b"through")
    door.close()


def test_the_dead_are_noticed_at_once(boxes: tuple[Mailbox, Mailbox], tmp_path: Path) -> None:
    """A closed mailbox, one whose process left its file behind, and one that never was."""
    here, there = boxes
    there.close()
    assert here.put(there.path, b"late") is Put.GONE
    leftover = left_behind(tmp_path / "leftover")
    assert list(tmp_path.glob("leftover*")) != []
    assert here.put(str(leftover), b"late") is Put.GONE
    assert list(tmp_path.glob("leftover*")) == [], "who finds a leftover removes it"
    assert here.put(str(tmp_path / "never"), b"?") is Put.GONE
    assert here.put(str(tmp_path / "no folder" / "never"), b"?") is Put.GONE


def test_what_waits_at_a_door_learns_that_the_reader_died(boxes: tuple[Mailbox, Mailbox]) -> None:
    """A reader that dies while its mailbox is full wakes who waits for room."""
    here, there = boxes
    fill(here, there.path)
    door = here.door_to(there.path)
    assert door is not None
    there.close()
    poll = select.poll()
    poll.register(door, select.POLLOUT)
    assert poll.poll(1_000) != []
    assert here.put_through(door, there.path, b"late") is Put.GONE
    door.close()


def test_a_leftover_name_can_be_taken_and_a_living_one_cannot(tmp_path: Path) -> None:
    """The admin has a fixed name: after a kill its file is no obstacle, a living admin is."""
    path = left_behind(tmp_path / "admin")
    assert not is_read(str(path))
    living = Mailbox(path)
    assert is_read(str(path))
    with pytest.raises(OSError, match="another process"):
        Mailbox(path)
    living.close()


def test_a_path_longer_than_an_address_works(tmp_path: Path) -> None:
    """State folders lie where people put them; a socket's address holds 107 bytes."""
    folder = tmp_path
    while len(str(folder)) <= 3 * ADDRESS_MAX:
        folder /= "a-rather-long-folder-näme"
    folder.mkdir(parents=True)
    here, there = Mailbox.fresh(folder), Mailbox.fresh(folder)
    assert here.put(there.path, b"far") is Put.DONE
    assert taken(there) == [(here.path, b"far")]
    fill(here, there.path)
    door = here.door_to(there.path)
    assert door is not None
    there.close()
    assert here.put(there.path, b"late") is Put.GONE
    assert [name.name for name in folder.iterdir() if name.name.startswith(Path(there.path).name)] == []
    door.close()
    here.close()


def test_only_who_made_a_mailbox_removes_its_file(boxes: tuple[Mailbox, Mailbox]) -> None:
    """A forked child that closes its copy leaves the parent reachable."""
    here, there = boxes
    child = os.fork()
    if child == 0:
        there.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert here.put(there.path, b"still") is Put.DONE
    assert taken(there) == [(here.path, b"still")]


@pytest.mark.parametrize("rubbish", [b"", b"\x00", b"\xff\xff", b"\x00\x05abc"], ids=repr)
def test_rubbish_is_read_without_an_error(boxes: tuple[Mailbox, Mailbox], rubbish: bytes) -> None:
    """Only this user can write here, but what he writes by mistake must not stop an actor."""
    here, there = boxes
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.sendto(rubbish, f"{there.path}.0")
    assert here.put(there.path, b"good") is Put.DONE
    assert (here.path, b"good") in taken(there)


def test_no_descriptor_is_left_after_large_messages(boxes: tuple[Mailbox, Mailbox]) -> None:
    """Neither the sender's nor the receiver's side keeps the memory that carried them."""
    here, there = boxes
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        here.put(there.path, b"x" * 100_000)
        there.take()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ── short of descriptors, and forgeries ───────────────────────────────────────────────────────────────────────────


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    """In the block this process can open nothing more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        with pytest.raises(OSError, match="Too many"):
            os.dup(0)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def hand_over(box: Mailbox, sender: str, descriptors: list[int]) -> None:
    """Send a datagram with these descriptors, as a large message would be sent."""
    name = os.fsencode(sender)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        other.sendmsg([len(name).to_bytes(2) + name], rights, 0, f"{box.path}.0")


def test_a_message_that_was_lost_for_want_of_a_descriptor_is_told(boxes: tuple[Mailbox, Mailbox]) -> None:
    """The kernel drops it; silence would look as if it had never been sent."""
    here, there = boxes
    here.put(there.path, b"x" * 100_000)
    here.put(there.path, b"small")
    with no_free_descriptor():
        assert taken(there) == [(here.path, None), (here.path, b"small")]


def test_a_process_without_a_free_descriptor_can_send(boxes: tuple[Mailbox, Mailbox]) -> None:
    """Large messages, and to a full mailbox: some descriptors are kept back for that, and are there again later."""
    here, there = boxes
    with no_free_descriptor():
        for _ in range(10):
            assert here.put(there.path, b"x" * 100_000) is Put.DONE
        fill(here, there.path)
        door = here.door_to(there.path)
        assert door is not None
        assert here.put_through(door, there.path, b"y" * 100_000) is Put.FULL
        here.give_back(door)
        assert here.put(there.path, b"y" * 100_000) is Put.FULL
    before = open_descriptors()
    assert {len(payload or b"") for _, payload in taken(there)[:10]} == {100_000}
    assert open_descriptors() == before


@pytest.mark.parametrize("kind", ["pipe", "device", "two", "endless"])
def test_a_descriptor_that_is_no_message_is_told_and_closed(boxes: tuple[Mailbox, Mailbox], kind: str) -> None:
    """A pipe cannot be read from its beginning, a device has no end, and a message has one descriptor."""
    here, there = boxes
    reader, writer = os.pipe()
    memory, device = os.memfd_create("test"), os.open("/dev/zero", os.O_RDONLY)
    if kind == "endless":
        os.truncate(memory, 1 << 40)
    before = open_descriptors()
    handed = {"pipe": [reader], "device": [device], "two": [memory, memory], "endless": [memory]}[kind]
    for _ in range(20):
        hand_over(there, here.path, handed)
        assert taken(there) == [(here.path, None)]
    assert open_descriptors() == before
    for descriptor in (reader, writer, memory, device):
        os.close(descriptor)


def test_a_datagram_shorter_than_it_says_is_no_message(boxes: tuple[Mailbox, Mailbox]) -> None:
    """What an earlier one left in the buffer is not read again as its sender."""
    here, there = boxes
    here.put(there.path, b"good")
    assert taken(there) == [(here.path, b"good")]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.sendto(len(here.path).to_bytes(2), f"{there.path}.0")
    assert taken(there) == [("", None)]


def test_only_dead_sockets_of_the_own_folder_are_removed(boxes: tuple[Mailbox, Mailbox], tmp_path: Path) -> None:
    """Neither files, nor what somebody reads, nor anything elsewhere."""
    here, living = boxes
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    files = [folder / f"log.{slot}" for folder in (tmp_path, elsewhere) for slot in range(SLOTS)]
    for file in files:
        file.write_text("precious")
    foreign = left_behind(elsewhere / "leftover")
    for target in (tmp_path / "log", elsewhere / "log", foreign, tmp_path / "elsewhere" / ".." / "log"):
        assert here.put(str(target), b"?") is Put.GONE
        here.remove_dead(str(target))
    here.remove_dead(living.path)
    assert {file.read_text() for file in files} == {"precious"}
    assert len(list(elsewhere.glob("leftover*"))) == SLOTS
    assert here.put(living.path, b"!") is Put.DONE


def test_who_names_another_socket_as_the_sender_hurts_nobody(boxes: tuple[Mailbox, Mailbox], tmp_path: Path) -> None:
    """An answer to what is no mailbox goes to nobody."""
    here, _ = boxes
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        for slot in range(SLOTS):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
                bound.bind(str(tmp_path / f"stream.{slot}"))
        stream.bind(str(tmp_path / "living.0"))
        stream.listen()
        assert not is_read(str(tmp_path / "living"))
        assert here.put(str(tmp_path / "stream"), b"?") is Put.GONE
        assert here.put(str(tmp_path / "stream" / "under"), b"?") is Put.GONE


def test_a_mailbox_of_another_system_can_be_written_to(boxes: tuple[Mailbox, Mailbox], tmp_path: Path) -> None:
    """It has a folder of its own."""
    here, _ = boxes
    (tmp_path / "other").mkdir()
    other = Mailbox.fresh(tmp_path / "other")
    assert here.put(other.path, b"hello") is Put.DONE
    assert taken(other) == [(here.path, b"hello")]
    other.close()


def test_a_mailbox_that_is_being_made_is_not_taken_for_a_leftover(boxes: tuple[Mailbox, Mailbox]) -> None:
    """Who writes to a slot that is not there yet removes none of those that are."""
    here, _ = boxes
    path = Path(here.path).parent / "admin"
    made = Mailbox(path)
    for slot in range(SLOTS - 1):
        Path(f"{path}.{slot}").unlink()  # not made yet
    sent = {Mailbox.fresh(path.parent).put(str(path), b"early") for _ in range(4 * SLOTS)}
    assert sent <= {Put.GONE, Put.DONE}
    assert Path(f"{path}.{SLOTS - 1}").exists()
    made.close()


def test_a_long_path_costs_no_descriptor_that_stays(tmp_path: Path) -> None:
    """The way through the folder's descriptor ends with the mailbox."""
    folder = tmp_path / ("a" * 120)
    folder.mkdir()
    before = open_descriptors()
    here, there = Mailbox.fresh(folder), Mailbox.fresh(folder)
    assert here.put(there.path, b"far") is Put.DONE
    assert is_read(there.path)
    here.close()
    there.close()
    assert open_descriptors() == before
