from __future__ import annotations

import pytest
from django.http import Http404

from bhype.accounts.access import allow, lookup, session_digest
from bhype.accounts.models import ApiToken, User, digest
from storage.models import Pool
from vms.models import VM


def test_a_rule_names_a_right_that_exists():
    with pytest.raises(ValueError, match="not a right"):
        allow("vms.fly")


def test_an_owner_finds_their_vm_and_a_stranger_does_not(vm, alice, stranger):
    assert lookup(alice, VM, "vms.delete", name="web1") == vm
    with pytest.raises(Http404):
        lookup(stranger, VM, "vms.view", name="web1")


def test_a_viewer_finds_it_to_view_only(vm, viewer):
    assert lookup(viewer, VM, "vms.view", pk=vm.pk) == vm
    with pytest.raises(Http404):
        lookup(viewer, VM, "vms.operate", pk=vm.pk)


def test_the_scope_of_a_token_cuts_an_owners_look_up(vm, alice):
    alice.scope = "read"
    assert lookup(alice, VM, "vms.view", name="web1") == vm
    with pytest.raises(Http404):
        lookup(alice, VM, "vms.operate", name="web1")


@pytest.mark.parametrize("key", ["x", "1\0", None, 10**30, -1, "1; drop"])
def test_a_bad_number_is_a_missing_object(admin, pool, key):
    with pytest.raises(Http404):
        lookup(admin, Pool, "storage.view", pk=key)


def test_a_name_that_two_hosts_know_is_not_guessed(vm, admin):
    other = VM.objects.get(pk=vm.pk)
    other.pk, other.uuid, other.vnc_port = None, "0" * 32, 5999
    other.host = type(vm.host).objects.create(name="second")
    other.save()
    with pytest.raises(Http404):
        lookup(admin, VM, "vms.view", name="web1")


def test_tokens_are_seen_by_their_owner_only(alice, admin):
    row, _ = ApiToken.objects.issue(alice, "ci", "read", None)
    assert lookup(alice, ApiToken, "self", pk=row.pk) == row
    with pytest.raises(Http404):
        lookup(admin, ApiToken, "self", pk=row.pk)


def test_a_session_is_known_by_its_digest_alone(rf, alice, client):
    client.force_login(alice, backend="bhype.accounts.backends.PanelBackend")
    request = rf.get("/")
    request.session = client.session
    assert session_digest(request) == digest(client.session.session_key)
    request.api_token = ApiToken.objects.issue(alice, "t", "full", None)[0]
    assert session_digest(request) == request.api_token.digest


def test_users_are_plain_rows():
    assert str(User(username="bob")) == "bob"
