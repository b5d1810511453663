"""People and things that the tests are about."""

from __future__ import annotations

import os

import hypothesis
import pytest
from django.test import Client

from bhype.accounts.models import User
from bhype.hosts.models import Host
from network.models import Switch
from storage.models import Pool
from tests.run import FOLDERS
from vms.models import VM, Disk, Nic

GIB = 2**30

# make test tries the same examples each time; BHYPE_EXPLORE=1 looks for new ones. How long it takes to make them
# depends on what else the machine does.
SLOW = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile(
    "same", derandomize=True, deadline=None, database=None, suppress_health_check=SLOW
)
hypothesis.settings.register_profile("explore", deadline=None, suppress_health_check=SLOW)
hypothesis.settings.load_profile("explore" if os.environ.get("BHYPE_EXPLORE") else "same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the database, what drives a lab and what takes long: the parts of a run choose by that."""
    for item in items:
        if item.nodeid.startswith(("tests/long/", "tests/openzfs/")):
            item.add_marker("long")
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & {"db", "transactional_db"} or item.get_closest_marker("django_db"):
            item.add_marker("database")
        if fixtures & {"lab", "ready"}:
            item.add_marker("lab")
        for mark, folders in FOLDERS.items():
            if item.get_closest_marker(mark) and not item.nodeid.startswith(
                tuple(f"{one}/" for one in folders)
            ):
                raise pytest.UsageError(
                    f"{item.nodeid} is never run: tests marked {mark} belong to {folders}"
                )


@pytest.fixture(autouse=True)
def _quick_passwords(settings) -> None:
    """Real password hashes cost a tenth of a second each."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def make_user(username: str, role: str = "") -> User:
    return User.objects.create_user(username, password="correct horse battery", role=role, source="panel")


@pytest.fixture
def alice(db) -> User:
    """Owns the vm; has no role."""
    return make_user("alice")


@pytest.fixture
def stranger(db) -> User:
    """Signed in, no role, owns nothing."""
    return make_user("stranger")


@pytest.fixture
def viewer(db) -> User:
    return make_user("viewer", "viewer")


@pytest.fixture
def operator(db) -> User:
    return make_user("operator", "operator")


@pytest.fixture
def admin(db) -> User:
    return make_user("admin", "admin")


@pytest.fixture
def as_user():
    """A browser in which the user is signed in: ``as_user(alice).get(...)``."""

    def sign_in(user: User, **headers: str) -> Client:
        client = Client(**headers)
        client.force_login(user, backend="bhype.accounts.backends.PanelBackend")
        return client

    return sign_in


@pytest.fixture
def host(db) -> Host:
    return Host.objects.create(name="lab", cpus=8, memory=32 * GIB, memory_free=24 * GIB)


@pytest.fixture
def pool(host: Host) -> Pool:
    return Pool.objects.create(
        host=host, name="tank", is_adopted=True, size=100 * GIB, free=80 * GIB, health="ONLINE"
    )


@pytest.fixture
def switch(host: Host) -> Switch:
    return Switch.objects.create(host=host, name="nat", kind="nat", address="10.77.0.1/24")


@pytest.fixture
def vm(host: Host, pool: Pool, switch: Switch, alice: User) -> VM:
    """A stopped VM of alice with one disk and one NIC; rows only, nothing on a host."""
    row = VM.objects.create(
        host=host,
        pool=pool,
        owner=alice,
        name="web1",
        cpus=2,
        memory=2 * GIB,
        vnc_port=5900,
        vnc_password="pw123456",
        state=VM.State.STOPPED,
    )
    Disk.objects.create(vm=row, index=0, slot="0:4:0", size=10 * GIB)
    Nic.objects.create(vm=row, index=0, slot="0:10:0", switch=switch, mac="58:9c:fc:00:00:01")
    return row
