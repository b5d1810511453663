"""The rights there are, and who holds them. The one table behind pages, API and WebSockets.

A role's rights hold for every object; an owner's rights hold for the objects that the user owns.
"""

from __future__ import annotations

VIEW = frozenset({"vms.view", "storage.view", "network.view", "hosts.view"})
# To look at consoles, their logs and pictures without writing. Who holds vms.console holds this, too.
WATCH = frozenset({"vms.watch"})
OPERATE = WATCH | {"vms.operate", "vms.console"}
OWNER_RIGHTS = OPERATE | {"vms.view", "vms.change", "vms.delete"}
# What equals root on the VM's host: raw devices, paths of the host, scripts, passed-through devices. Never an
# owner's, and each host must allow it besides (BHYPE_ALLOW).
ROOT = frozenset({"vms.root"})
ADMIN = ROOT | frozenset(
    {
        "vms.create", "vms.change", "vms.delete", "templates.change", "storage.change", "network.change",
        "hosts.change", "tasks.view_all", "tasks.change_all", "users.manage", "audit.view",
    }
)  # fmt: skip
# Held by everybody who is signed in.
SELF = frozenset({"self"})
ALL = VIEW | OPERATE | OWNER_RIGHTS | ADMIN | SELF

ROLE_RIGHTS: dict[str, frozenset[str]] = {
    "": SELF,
    "viewer": SELF | VIEW,
    "watcher": SELF | VIEW | WATCH,
    "operator": SELF | VIEW | OPERATE | {"vms.create", "tasks.view_all"},
    "admin": ALL,
}
SCOPE_RIGHTS: dict[str, frozenset[str]] = {
    "read": SELF | VIEW | {"tasks.view_all", "audit.view"},
    "operate": SELF | VIEW | OPERATE | {"tasks.view_all"},
    "full": ALL,
}
