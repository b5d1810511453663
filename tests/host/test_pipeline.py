"""Two commands with the bytes going from one to the other: both statuses, cancel, time, files."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time

import pytest

from bhype.freebsd.command import Command
from bhype.host import CommandFailed, CommandStopped, CommandTimeout, FileSink, FileSource, LocalHost

MIB = 2**20
READ_ALL = "import sys; print(sum(len(b) for b in iter(lambda: sys.stdin.buffer.read(65536), b'')))"


def python(code: str, **options) -> Command:
    return Command((sys.executable, "-S", "-E", "-c", code), native=True, **options)


def writes(count: int, then: str = "") -> Command:
    return python(f"import sys; sys.stdout.buffer.write(b'x' * {count}); sys.stdout.flush(); {then}")


class Recorder:
    def __init__(self):
        self.events = []

    def started(self, command):
        self.events.append(("started", command.argv[-1][:12]))

    def output(self, stream, line):
        self.events.append((stream, line))

    def finished(self, command, result):
        self.events.append(("finished", result.code))


def descriptors() -> int:
    # What earlier tests have left open goes now, and not while one of these counts.
    gc.collect()
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


def test_all_bytes_arrive_and_are_counted():
    heard, told, before = Recorder(), [], descriptors()
    count = LocalHost(listener=heard).pipe(writes(20 * MIB), python(READ_ALL), told.append)
    assert count == 20 * MIB == told[-1]
    assert told == sorted(told)
    assert ("stdout", str(20 * MIB)) in heard.events
    assert [event for event in heard.events if event[0] == "finished"] == [("finished", 0)] * 2
    assert descriptors() <= before


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    host = LocalHost(str(tmp_path))
    assert host.pipe(writes(3 * MIB), FileSink("/out")) == 3 * MIB
    assert (tmp_path / "out").stat().st_size == 3 * MIB
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandFailed, match="exit status 3"):
        host.pipe(writes(MIB, "sys.exit(3)"), FileSink("/late"))
    assert os.listdir(tmp_path) == ["out"]
    assert host.pipe(FileSource("/out"), python(READ_ALL)) == 3 * MIB


def test_a_link_or_a_device_is_no_source(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "fifo")
    host = LocalHost(str(tmp_path))
    for name in ("/link", "/fifo", "/gone"):
        with pytest.raises(OSError):
            host.pipe(FileSource(name), python(READ_ALL))


def test_a_file_is_not_written_through_a_link(tmp_path):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "out.part").symlink_to("victim")
    (tmp_path / "out").symlink_to("victim")
    LocalHost(str(tmp_path)).pipe(writes(5), FileSink("/out"))
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / "out").read_text() == "xxxxx"


def test_a_source_that_fails_ends_the_sink_before_it_sees_an_end(tmp_path):
    """Else a sink would take the part for the whole."""
    witness = tmp_path / "complete"
    sink = python(f"import sys; sys.stdin.buffer.read(); open({str(witness)!r}, 'w').write('all')")
    with pytest.raises(CommandFailed, match="out of luck") as caught:
        LocalHost().pipe(writes(MIB, "sys.exit('out of luck')"), sink)
    assert caught.value.command.argv[-1].startswith("import sys; sys.stdout")
    assert not witness.exists()


def test_a_sink_that_fails_ends_the_source_and_is_the_reason():
    start = time.monotonic()
    with pytest.raises(CommandFailed, match="no room") as caught:
        LocalHost().pipe(
            writes(MIB, "import time; time.sleep(60)"),
            python("import sys; sys.stdin.buffer.read(10); sys.exit('no room')"),
        )
    assert caught.value.result.code == 1
    assert time.monotonic() - start < 50


def test_a_sink_that_leaves_early_has_not_done_its_work(tmp_path):
    (tmp_path / "big").write_bytes(b"x" * 4 * MIB)
    with pytest.raises(CommandFailed, match="before it had read all"):
        LocalHost(str(tmp_path)).pipe(FileSource("/big"), python("import sys; sys.stdin.buffer.read(10)"))


def test_a_missing_program_starts_nothing(tmp_path):
    with pytest.raises(CommandFailed, match="is not on this host"):
        LocalHost(str(tmp_path)).pipe(writes(10), Command(("/sbin/zfs", "receive")))


def test_it_is_stopped_when_asked():
    stop, before = threading.Event(), descriptors()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(CommandStopped):
        LocalHost(should_stop=stop.is_set).pipe(writes(10, "import time; time.sleep(60)"), python(READ_ALL))
    assert descriptors() <= before


def test_it_ends_in_time():
    with pytest.raises(CommandTimeout):
        LocalHost().pipe(writes(10, "import time; time.sleep(60)"), python(READ_ALL, timeout=0.5))


def test_all_that_is_said_at_the_end_is_heard():
    said = "import sys; sys.stdin.buffer.read(); sys.stderr.write('x' * 60000 + '\\nlast words')"
    heard = Recorder()
    LocalHost(listener=heard).pipe(writes(10), python(said))
    assert ("stderr", "last words") in heard.events


def test_a_slow_sink_is_waited_for():
    sink = python("import sys, time; time.sleep(.5); assert len(sys.stdin.buffer.read()) == 3000000")
    assert LocalHost().pipe(writes(3_000_000), sink) == 3_000_000


def test_pieces_of_output_are_heard_before_a_line_ends(tmp_path):
    heard, go = [], tmp_path / "go"

    def hear(piece: str) -> None:
        heard.append(piece)
        go.touch()

    code = (
        "import os, sys, time\nprint('(1/100%)', end='\\r', flush=True)\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(.01)\nprint('(50/100%)', end='\\r')"
    )
    LocalHost().run(python(code), heard=hear)
    assert len(heard) >= 2
    assert "".join(heard) == "(1/100%)\r(50/100%)\r"
