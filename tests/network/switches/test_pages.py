"""What the pages of switches say."""

from __future__ import annotations

from bhype.hosts import observer


def test_the_list_says_what_a_lab_does_not_do(lab, as_user, viewer):
    observer.Observer(lab.host).sweep()
    shown = as_user(viewer).get("/network/").content.decode()
    assert "This is a lab host" in shown and "joined by sockets" in shown
