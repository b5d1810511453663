from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from bhype.console import gate as questions
from bhype.console import relay

from .guests import Guest, echo, eventually, gateway, greet, write_state


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """On a busy machine the gateway takes its time to answer."""
    monkeypatch.setattr(questions, "SECONDS", 60.0)
    monkeypatch.setattr(relay, "CONNECT_SECONDS", 60.0)


@pytest.fixture(scope="module")
def short_path():
    """Paths of unix sockets must be short; pytest's are not."""
    folder = Path(tempfile.mkdtemp(prefix="bhc-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def gate(short_path):
    """The gateway, running."""
    with gateway(short_path) as process:
        yield process


@pytest.fixture
def guest_of(gate):
    """Makes a running guest with a screen: ``guest_of(serve, name)``; with a serial console if ``serial``."""
    made = []

    def make(serve=greet, name="web1", serial=None):
        guest = Guest(serve)
        made.append(guest)
        folder = write_state(gate.root, name, guest.port)
        if serial is not None:
            socket = folder / "serial1.sock"
            socket.unlink(missing_ok=True)
            made.append(Guest(serial, socket))
        return guest

    yield make
    for guest in made:
        guest.close()
    assert eventually(lambda: not gate.children()), "a console outlived its guest and its viewer"


@pytest.fixture
def echoing(guest_of):
    return guest_of(greet, "web1", serial=echo)
