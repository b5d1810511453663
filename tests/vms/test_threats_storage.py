"""Threats to what VMs have in the storage (docs/threat-model.md): rows written by a web process that was taken over,
and owners who reach for what is another's. One test for each thing tried."""

from __future__ import annotations

import pytest

from bhype.accounts.models import User
from bhype.cloudinit import Invalid
from bhype.hosts.models import Host
from storage.models import Pool
from tests.conftest import make_user
from tests.vms.snapshots.test_snapshots import do, tails, take, vm  # noqa: F401
from vms.deploy import orders
from vms.deploy.orders import Order
from vms.models import VM, Snippet, Template
from vms.os_templates import documents


@pytest.fixture
def alice(db) -> User:
    return make_user("alice", "operator")


def test_t25_a_row_lets_no_rollback_destroy_what_somebody_else_took(ready, vm, alice):  # noqa: F811
    """Also by the operation that goes on with what was broken off, for which the row alone says where to."""
    take(ready, vm, "good", alice)
    ready.commands("/sbin/zfs", "snapshot", "-r", f"{vm.dataset}@by-hand")
    for operation in ("vms.rollback", "vms.finish_rollback"):
        VM.objects.filter(pk=vm.pk).update(rolling_back_to="good" if "finish" in operation else "")
        task = do(ready, operation, alice, vm, name="good")
        assert task.status == "failed" and "bHype did not take it" in task.error, task.error
        assert tails(ready) == {"good", "by-hand"}


@pytest.fixture
def template(db) -> Template:
    """A template of which VMs get a seed; rows only."""
    host = Host.objects.create(name="lab", cpus=8, memory=2**35)
    pool = Pool.objects.create(host=host, name="tank", is_adopted=True, size=2**40, free=2**40)
    draft = documents.of_image(None, size=2**30, firmware="uefi", cpus=1, memory=2**30)
    return Template.objects.create(
        host=host, pool=pool, name="debian", document=draft.document, disks=draft.disks, state="ready",
        is_published=True, cloud_init_kind="cloud-init",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["user-data", "preseed"])
def test_t13_nobody_deploys_what_another_keeps_in_the_library(template, alice, kind):
    """The seed would tell its text."""
    text = "#cloud-config\npackages: [secret]\n" if kind == "user-data" else "d-i secret string secret\n"
    snippet = Snippet.objects.create(name="hers", kind=kind, text=text, owner=make_user("bob", "operator"))
    base = {"kind": "cloud-init", "user": "debian", "password_hash": "$6$salt$" + "x" * 86}
    more = {"snippets": [snippet.pk]} if kind == "user-data" else {"installer": kind, "answers": snippet.pk}
    with pytest.raises(Invalid, match="no snippet"):
        orders.make(template, Order("web1", alice, cloud_init={**base, **more}), alice)
    assert not VM.objects.exists()
    Snippet.objects.update(is_shared=True)
    assert orders.make(template, Order("web1", alice, cloud_init={**base, **more}), alice)[0].pk
