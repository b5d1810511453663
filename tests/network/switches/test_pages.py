"""What the pages of switches say."""

from __future__ import annotations

from bhype.hosts import observer


def test_pages_say_what_a_lab_does_not_do(lab, as_user, viewer):
    observer.Observer(lab.host).sweep()
    for page in ("", "switches/nat/", "switches/nat/dhcp/", "switches/nat/nat/", "firewall/"):
        shown = as_user(viewer).get(f"/network/{page}").content.decode()
        assert "This is a lab host" in shown and "joined by sockets" in shown, page
