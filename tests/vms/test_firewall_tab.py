"""The tab "Firewall" of a VM: its owner reads it, and learns of no other VM."""

from __future__ import annotations

import re

import pytest

from network.models import Forward, Rule
from vms.models import VM, Nic, Tag


@pytest.fixture
def about(vm, host, switch):
    """Rules about web1, by name, tag and switch, and one about another VM."""
    other = VM.objects.create(
        host=host, pool=vm.pool, name="secret-db", cpus=1, memory=1, vnc_port=6100, vnc_password="x"
    )
    Nic.objects.create(vm=other, index=0, slot="0:10:0", switch=switch, mac="58:9c:fc:00:00:02")
    vm.tags.add(Tag.objects.create(name="prod"))
    mine, theirs = f"vm:{vm.uuid}", f"vm:{other.uuid}"
    for subject, peer in (
        (mine, theirs),
        ("tag:prod", "internet"),
        (f"switch:{switch.uuid}", "any"),
        (theirs, "any"),
        ("tag:else", "any"),
    ):
        Rule.objects.create(
            host=host,
            subject=subject,
            peer=peer,
            direction="in",
            action="pass",
            position=Rule.objects.count(),
        )
    Forward.objects.create(host=host, subject=mine, port=2222, target_port=22, note="by the way")
    Forward.objects.create(host=host, subject=theirs, port=2223, target_port=22)


def shown(client) -> str:
    return re.sub(r"\s+", " ", client.get("/vms/web1/firewall/").content.decode())


def test_it_has_what_is_about_the_vm_by_name_tag_and_switch(about, as_user, admin):
    answer = as_user(admin).get("/vms/web1/firewall/")
    assert [line.place for line in answer.context["lines"]] == [1, 2, 3]
    assert [line.row.port for line in answer.context["forwards"]] == [2222]
    assert "New forward" in answer.content.decode()


def test_its_owner_reads_it_and_changes_nothing(about, as_user, alice):
    text = shown(as_user(alice))
    assert "To web1 from another VM" in text and "TCP port 2222 of this host to web1 port 22" in text
    assert "secret-db" not in text and "New forward" not in text and "/change/" not in text
    assert 'id="draft"' not in text


def test_strangers_do_not_see_it(about, as_user, stranger):
    assert as_user(stranger).get("/vms/web1/firewall/").status_code == 404
