"""Commands run without a shell, in groups that die as a whole, with nothing inherited."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from bhype.freebsd.command import Command, ParseError, Query
from bhype.host import CommandFailed, CommandStopped, CommandTimeout, LocalHost, Result


def python(code: str, **options) -> Command:
    return Command((sys.executable, "-S", "-E", "-c", code), native=True, **options)


class Recorder:
    def __init__(self):
        self.events = []

    def started(self, command):
        self.events.append(("started", command.argv[0]))

    def output(self, stream, line):
        self.events.append((stream, line))

    def finished(self, command, result):
        self.events.append(("finished", result.code))


def test_it_gives_output_and_time():
    result = LocalHost().run(python("import sys; print('out'); print('err', file=sys.stderr)"))
    assert (result.code, result.stdout, result.stderr) == (0, "out\n", "err\n")
    assert 0 < result.seconds < 20


def test_a_failure_names_the_program_and_its_last_words():
    with pytest.raises(CommandFailed) as caught:
        LocalHost().run(python("import sys; sys.exit('first\\ncannot create: out of space')"))
    assert str(caught.value) == f"{sys.executable} failed with exit status 1: cannot create: out of space"
    assert caught.value.result.code == 1


def test_a_failure_told_on_stdout_is_named_too():
    with pytest.raises(CommandFailed, match="VM:x is not created"):
        LocalHost().run(python("print('VM:x is not created.'); raise SystemExit(1)"))


def test_other_statuses_can_be_fine():
    assert LocalHost().run(python("raise SystemExit(3)", ok_codes=frozenset({0, 3}))).code == 3


def test_a_missing_program_is_a_clear_failure(tmp_path):
    with pytest.raises(CommandFailed, match=r"/sbin/zfs is not on this host\.") as caught:
        LocalHost(str(tmp_path)).run(Command(("/sbin/zfs", "list")))
    assert caught.value.result.code == 127


def test_a_file_that_is_no_program_is_a_clear_failure(tmp_path):
    (tmp_path / "zfs").write_text("")
    with pytest.raises(CommandFailed, match=r"/zfs cannot run: Permission denied\."):
        LocalHost(str(tmp_path)).run(Command(("/zfs",)))


def test_programs_are_found_below_the_root_and_arguments_stay(tmp_path):
    program = tmp_path / "sbin" / "echo"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$0 $1"\n')
    program.chmod(0o755)
    assert LocalHost(str(tmp_path)).run(Command(("/sbin/echo", "/etc/x"))).stdout == f"{program} /etc/x\n"


def test_nothing_is_inherited(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    seen = LocalHost().run(python("import os; print(sorted(os.environ))")).stdout
    assert "DATABASE_URL" not in seen
    assert "'LC_ALL'" in seen
    assert "'TZ'" in seen


def test_it_feeds_and_reads_at_once_without_blocking():
    blob = os.urandom(1 << 20).hex().encode()
    echo = python(
        "import sys; sys.stdout.write(sys.stdin.read()); sys.stderr.write('e' * (1 << 20))", stdin=blob
    )
    result = LocalHost().run(echo)
    assert result.stdout == blob.decode()[-(1 << 20) :]
    assert len(result.stderr) == 1 << 20
    assert result.truncated


def test_a_program_may_refuse_its_input():
    assert LocalHost().run(python("print('no')", stdin=b"x" * (1 << 20))).stdout == "no\n"


def test_only_the_tail_is_kept():
    result = LocalHost().run(python("print('x' * (5 << 20)); print('last')"))
    assert len(result.stdout) == 1 << 20
    assert result.stdout.endswith("\nlast\n")
    assert result.truncated


def test_an_answer_is_parsed_whole():
    lines = LocalHost().query(Query(python("print('line\\n' * 500000, end='')"), str.splitlines))
    assert len(lines) == 500_000


def test_an_answer_that_is_not_understood_is_told():
    def parse(text):
        raise ParseError("line 1")

    with pytest.raises(ParseError):
        LocalHost().query(Query(python("print()"), parse))


def test_lines_go_out_while_it_runs(tmp_path):
    seen = []

    class Watch(Recorder):
        def output(self, stream, line):
            super().output(stream, line)
            if line == "one":
                (tmp_path / "go").touch()
            seen.append(line)

    listener = Watch()
    waiting = (
        "import os, time, sys\nprint('one', flush=True)\n"
        f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n"
        "sys.stderr.write('half')"
    )
    LocalHost(listener=listener).run(python(waiting))
    assert listener.events == [
        ("started", sys.executable), ("stdout", "one"), ("stderr", "half"), ("finished", 0),
    ]  # fmt: skip


def test_bytes_that_are_no_text_do_no_harm():
    result = LocalHost(listener=Recorder()).run(python("import os; os.write(1, b'\\xff\\xfe\\n')"))
    assert result.stdout == "\ufffd\ufffd\n"


# It tells its child within milliseconds, also on a busy machine; both ignore SIGTERM.
FAMILY = ("/bin/sh", "-c", "trap '' TERM; sleep 60 & echo $!; wait")


def family(**options) -> Command:
    return Command(FAMILY, native=True, **options)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_a_late_command_dies_with_all_its_children():
    with pytest.raises(CommandTimeout, match=r"did not end within 1 s and was killed") as caught:
        LocalHost().run(family(timeout=1.0))
    assert gone(int(caught.value.result.stdout))


def test_a_cancelled_command_dies_with_all_its_children():
    stop = threading.Event()

    class Stopper(Recorder):
        def output(self, stream, line):
            stop.set()

    start = time.monotonic()
    with pytest.raises(CommandStopped, match="cancelled") as caught:
        LocalHost(listener=Stopper(), should_stop=stop.is_set).run(family())
    assert gone(int(caught.value.result.stdout))
    assert time.monotonic() - start < 40


def test_a_program_that_closes_its_streams_is_still_late():
    with pytest.raises(CommandTimeout):
        LocalHost().run(python("import os, time; os.close(1); os.close(2); time.sleep(60)", timeout=0.5))


def test_children_left_behind_do_not_hold_a_command_up():
    child = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    code = f"import subprocess, sys; print(subprocess.Popen({child}).pid)"
    start = time.monotonic()
    result = LocalHost().run(python(code))
    assert time.monotonic() - start < 40
    os.kill(int(result.stdout), 9)


def test_a_spawned_process_goes_on_by_itself(tmp_path):
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    process = LocalHost().spawn(python("import os, sys; sys.stderr.write(str(os.getsid(0)))"), stderr=log)
    os.close(log)
    assert process.wait(20) == 0
    assert (tmp_path / "log").read_text() == str(process.pid)


def test_a_spawned_process_can_be_signalled():
    process = LocalHost().spawn(python("import time; time.sleep(60)"))
    assert process.poll() is None
    assert process.wait(0.01) is None
    process.send_signal(15)
    assert process.wait(20) == -15
    process.kill_group()


def test_paths_stay_below_the_root(tmp_path):
    host = LocalHost(str(tmp_path))
    assert host.path("/etc/x") == f"{tmp_path}/etc/x"
    assert LocalHost().path("/etc/x") == "/etc/x"
    for bad in ("etc", "/../etc", "/a/../../b", "/a\0b", ""):
        with pytest.raises(ValueError):
            host.path(bad)


def test_files_are_replaced_as_a_whole(tmp_path):
    host = LocalHost(str(tmp_path))
    host.makedirs("/a/b")
    host.write_text("/a/b/x", "one")
    host.write_text("/a/b/x", "two", 0o640)
    assert host.read_text("/a/b/x") == "two"
    assert stat.S_IMODE((tmp_path / "a/b/x").stat().st_mode) == 0o640
    host.copy("/a/b/x", "/a/b/y")
    assert host.listdir("/a/b") == ["x", "y"]
    assert host.size("/a/b/y") == 3
    assert stat.S_IMODE((tmp_path / "a/b/y").stat().st_mode) == 0o600
    host.unlink("/a/b/y")
    host.unlink("/a/b/y")
    assert not host.exists("/a/b/y")
    assert host.listdir("/nowhere") == []


def test_a_failing_write_leaves_the_old_text(tmp_path):
    host = LocalHost(str(tmp_path))
    host.makedirs("/x")
    with pytest.raises(OSError):
        host.write_text("/x", "text")
    assert host.listdir("/") == ["x"]


def test_a_result_can_be_made_by_hand():
    error = CommandFailed(Command(("/bin/x",)), Result(-9, "", "", 0.0))
    assert str(error) == "/bin/x was killed by signal 9."


def test_a_leashed_command_runs_as_any_other():
    host = LocalHost(leashed=True)
    # What a program inherits of SIGPIPE is what it has without a leash.
    code = "import signal, sys; print(sys.stdin.read(), signal.getsignal(signal.SIGPIPE)); sys.exit(3)"
    command = python(code, stdin=b"in", ok_codes=frozenset({3}))
    result = host.run(command)
    assert result.code == 3 and result.stdout.startswith("in ")
    assert result.stdout == LocalHost().run(command).stdout
    environment = Command(("/usr/bin/env",), native=True)
    assert host.run(environment).stdout == LocalHost().run(environment).stdout
    with pytest.raises(CommandFailed, match=r"/sbin/none is not on this host\."):
        host.run(Command(("/sbin/none",), native=True))


@pytest.mark.parametrize(("leashed", "survives"), [(True, False), (False, True)])
def test_a_leashed_command_dies_with_who_runs_it(tmp_path, leashed, survives):
    mark = tmp_path / "pid"
    inner = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    outer = (
        "from bhype.host import LocalHost; from bhype.freebsd.command import Command; "
        f"LocalHost(leashed={leashed}).run(Command(({sys.executable!r}, '-S', '-c', {inner!r}), native=True))"
    )
    runner = subprocess.Popen([sys.executable, "-c", outer])
    end = time.monotonic() + 20
    while not (mark.exists() and mark.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)
    pid = int(mark.read_text())
    runner.kill()
    runner.wait()
    try:
        if survives:
            time.sleep(0.2)
        assert alive(pid) if survives else gone(pid)
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_patience_multiplies_the_time_that_a_command_may_take():
    with pytest.raises(CommandTimeout, match=r"did not end within 0\.5 s"):
        LocalHost(patience=0.05).run(python("import time; time.sleep(60)", timeout=10.0))
