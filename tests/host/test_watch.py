"""Watching processes end: pidfds here, kqueue on FreeBSD."""

from __future__ import annotations

import select
import subprocess
import sys

import pytest

from bhype.host import Watch


def test_asking_whether_it_has_ended_takes_the_news_from_nobody():
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    watch = Watch(process.pid)
    assert not watch.ended()
    process.stdin.close()
    assert select.select([watch], [], [], 20)[0]
    assert watch.ended()
    assert watch.ended()
    assert select.select([watch], [], [], 0)[0]
    assert process.wait() == 1
    watch.close()
    with pytest.raises(ProcessLookupError):
        Watch(process.pid)
