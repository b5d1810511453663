"""bHype's anchors in somebody's pf.conf: shown, and added on request only, with a way back."""

from __future__ import annotations

import hashlib

import pytest

from bhype import commit
from bhype.commit import clock, record
from bhype.freebsd import kld
from bhype.hosts.models import Host
from bhype.hosts.observer import Sweep
from bhype.tasks import ask
from bhype.tasks.models import Task
from network.models import Firewall, HostChange, PfConf
from network.pfconf import observe
from tests.commit.conftest import until

TEXT = "# mine\nset skip on lo0\npass all\n"


@pytest.fixture
def pf(lab, host):
    """A host whose pf is in the kernel and has rules of its admin."""
    lab.host.run(kld.load("pf"))
    (lab.root / "etc/pf.conf").write_text(TEXT)
    lab.commands("/sbin/pfctl", "-f", "/etc/pf.conf")
    Firewall.objects.update_or_create(host=host, defaults={"has_pf": True})
    yield lab
    for change in commit.pending(lab.host):
        commit.revert(lab.host, change.name)


def file(lab) -> str:
    return (lab.root / "etc/pf.conf").read_text()


def loaded(lab) -> str:
    return lab.commands("/sbin/pfctl", "-sn") + lab.commands("/sbin/pfctl", "-sr")


def look(lab) -> PfConf:
    observe.observe(Sweep(lab.host, Host.objects.this()))
    return PfConf.objects.get()


def add(lab, digest: str = "", seconds: int = 60) -> Task:
    ask("network.add_anchors", {"digest": digest, "seconds": seconds}, None)
    (task,) = lab.run_tasks()
    return task


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_the_page_shows_what_is_missing_and_where(pf, as_user, admin, viewer):
    row = look(pf)
    assert [(one["line"].split()[0], one["after"]) for one in row.missing] == [
        ("nat-anchor", 2), ("rdr-anchor", 2), ("anchor", 3),
    ]  # fmt: skip
    assert row.is_asked is False
    shown = as_user(admin).get("/network/firewall/pf-conf/")
    assert [line["text"] for line in shown.context["lines"]] == [
        "# mine", "set skip on lo0", 'nat-anchor "bhype/*"', 'rdr-anchor "bhype/*"', "pass all", 'anchor "bhype/*"',
    ]  # fmt: skip
    assert "set skip" not in as_user(viewer).get("/network/firewall/pf-conf/").content.decode()
    assert file(pf) == TEXT


def test_the_lines_are_loaded_and_the_file_changes_with_the_confirmation_only(pf, as_user, admin):
    row = look(pf)
    as_user(admin).post("/network/firewall/pf-conf/add/", {"digest": row.digest})
    (task,) = pf.run_tasks()
    assert task.status == "succeeded", task.error
    assert loaded(pf).count('anchor "bhype/*"') == 3
    assert file(pf) == TEXT
    change = HostChange.objects.get()
    assert (change.name, change.state) == ("pf-conf", "waiting")
    as_user(admin).post(f"/network/changes/{change.pk}/", {"do": "confirm"})
    assert [one.status for one in pf.run_tasks()] == ["succeeded"]
    assert file(pf).count('anchor "bhype/*"') == 3
    backups = list((pf.root / "etc").glob("pf.conf.bhype-2*"))
    assert [path.read_text() for path in backups] == [TEXT]
    assert not (pf.root / "etc/pf.conf.bhype-new").exists()
    assert look(pf).is_asked


def test_without_a_confirmation_the_old_rules_come_back(pf):
    task = add(pf, digest(TEXT), 10)
    assert task.status == "succeeded", task.error
    # As the guard does at the deadline.
    commit.revert(pf.host, "pf-conf")
    assert "bhype" not in loaded(pf) and file(pf) == TEXT


def test_a_file_that_was_changed_meanwhile_is_not_touched(pf):
    (pf.root / "etc/pf.conf").write_text(TEXT + "block all\n")
    task = add(pf, digest(TEXT))
    assert task.status == "failed" and "changed meanwhile" in task.error
    assert "bhype" not in loaded(pf)
    assert not commit.pending(pf.host)


@pytest.mark.parametrize("fault", ["pfctl -n -f", "pfctl -f"])
def test_what_pf_does_not_take_leaves_everything_as_it_was(pf, fault):
    pf.fault(command=fault, do="fail")
    task = add(pf, digest(TEXT))
    pf.clear_faults()
    assert task.status == "failed"
    for change in commit.pending(pf.host):
        commit.revert(pf.host, change.name)
    assert file(pf) == TEXT and "bhype" not in loaded(pf)
    assert not (pf.root / "etc/pf.conf.bhype-new").exists()


def test_a_file_that_is_broken_is_told_and_left_alone(pf):
    broken = 'pass in on "em0\n'
    (pf.root / "etc/pf.conf").write_text(broken)
    assert "never closed" in look(pf).problem
    assert add(pf, digest(broken)).status == "failed"
    assert file(pf) == broken


def test_a_host_without_a_file_gets_one(pf):
    (pf.root / "etc/pf.conf").unlink()
    row = look(pf)
    assert not row.exists and len(row.missing) == 3
    task = add(pf)
    assert task.status == "succeeded", task.error
    commit.confirm(pf.host, "pf-conf")
    assert file(pf).count('anchor "bhype/*"') == 3
    assert (pf.root / "etc/pf.conf").stat().st_mode & 0o777 == 0o600


def test_the_guard_takes_it_back_by_itself(pf):
    add(pf, digest(TEXT), 10)
    with record.locked(pf.host, "pf-conf"):
        change = commit.look(pf.host, "pf-conf")
        record.write(pf.host, change, deadline=clock.now() + 0.1)
    until(lambda: commit.look(pf.host, "pf-conf").state == "reverted")
    assert "bhype" not in loaded(pf) and file(pf) == TEXT


def test_what_the_admin_writes_while_it_waits_is_not_lost(pf):
    assert add(pf, digest(TEXT)).status == "succeeded"
    (pf.root / "etc/pf.conf").write_text(TEXT + "# more\n")
    with pytest.raises(commit.Overtaken, match="changed meanwhile"):
        commit.confirm(pf.host, "pf-conf")
    commit.revert(pf.host, "pf-conf")
    assert file(pf) == TEXT + "# more\n" and "bhype" not in loaded(pf)


def test_lines_that_were_flushed_are_loaded_again(pf):
    assert add(pf, digest(TEXT)).status == "succeeded"
    commit.confirm(pf.host, "pf-conf")
    with_lines = file(pf)
    for what in ("rules", "nat"):
        pf.commands("/sbin/pfctl", "-F", what)
    task = add(pf, digest(with_lines))
    assert task.status == "succeeded", task.error
    assert loaded(pf).count('anchor "bhype/*"') == 3
    commit.revert(pf.host, "pf-conf")
    assert not loaded(pf) and file(pf) == with_lines


def test_other_rules_than_those_of_the_file_are_not_replaced(pf):
    assert add(pf, digest(TEXT)).status == "succeeded"
    commit.confirm(pf.host, "pf-conf")
    (pf.root / "tmp").mkdir(exist_ok=True)
    (pf.root / "tmp/other.conf").write_text("block all\n")
    pf.commands("/sbin/pfctl", "-f", "/tmp/other.conf")
    task = add(pf, digest(file(pf)))
    assert task.status == "failed" and "service pf reload" in task.error
    assert "block" in loaded(pf)
