"""The page of a host."""

from __future__ import annotations

from bhype.hosts import checklist
from bhype.hosts.models import Host


def test_it_says_in_words_what_the_host_can_do(ready, as_user, viewer):
    ready.sweep()
    host = Host.objects.get()
    page = as_user(viewer).get(f"/hosts/{host.name}/").content.decode()

    words = dict(checklist.abilities(host))
    assert words["UEFI firmware for guests"] and all(word in page for word in words)
    assert len(words) == 6 and not words.keys() & host.features.keys()
