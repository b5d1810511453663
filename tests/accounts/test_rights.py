"""The table of rights, read as a table."""

from __future__ import annotations

import pytest

from bhype.accounts.models import User
from bhype.accounts.rights import ALL, OWNER_RIGHTS, ROLE_RIGHTS, SCOPE_RIGHTS

CHANGES = ALL - {
    "self",
    "vms.view",
    "storage.view",
    "network.view",
    "hosts.view",
    "tasks.view_all",
    "audit.view",
}


def user(role: str = "", pk: int = 1, scope: str | None = None, **fields) -> User:
    row = User(pk=pk, username="u", role=role, **fields)
    row.scope = scope
    return row


def test_without_a_role_a_user_holds_nothing_but_themselves():
    assert {right for right in ALL if user().can(right)} == {"self"}


def test_an_owner_holds_the_owners_rights_on_their_object_only():
    for right in ALL - {"self"}:
        assert user(pk=7).can(right, owner_id=7) == (right in OWNER_RIGHTS)
        assert not user(pk=7).can(right, owner_id=8)


def test_nobody_owns_what_has_no_owner():
    assert not User(username="u").can("vms.view", owner_id=None)


def test_a_viewer_changes_nothing():
    assert not any(user("viewer").can(right) for right in CHANGES)


def test_an_operator_runs_vms_but_does_not_delete_those_of_others():
    operator = user("operator")
    assert operator.can("vms.operate") and operator.can("vms.console") and operator.can("vms.create")
    assert (
        not operator.can("vms.delete") and not operator.can("users.manage") and not operator.can("audit.view")
    )


def test_an_admin_holds_every_right():
    assert all(user("admin").can(right) for right in ALL)


def test_each_role_holds_what_the_lower_one_holds():
    assert ROLE_RIGHTS[""] < ROLE_RIGHTS["viewer"] < ROLE_RIGHTS["operator"] < ROLE_RIGHTS["admin"]


@pytest.mark.parametrize("role", list(ROLE_RIGHTS))
def test_an_inactive_user_holds_nothing(role):
    assert not any(user(role, is_active=False).can(right, owner_id=1) for right in ALL)


@pytest.mark.parametrize("scope", list(SCOPE_RIGHTS))
@pytest.mark.parametrize("role", list(ROLE_RIGHTS))
def test_a_token_never_adds_a_right_and_its_scope_cuts(role, scope):
    for right in ALL:
        for owner in (None, 1):
            with_token = user(role, scope=scope).can(right, owner_id=owner)
            assert with_token == (user(role).can(right, owner_id=owner) and right in SCOPE_RIGHTS[scope])


def test_a_read_only_token_changes_nothing_even_for_an_admin_who_owns_it():
    assert not any(user("admin", scope="read").can(right, owner_id=1) for right in CHANGES)
