"""bHype's settings with the operations of the tests, for processes outside of pytest."""

from __future__ import annotations

from bhype.settings import *  # noqa: F403
from bhype.settings import INSTALLED_APPS, Q_CLUSTER

INSTALLED_APPS = [*INSTALLED_APPS, "tests.tasks.sample"]
# So seldom that what starts at once was woken, also on a busy machine.
Q_CLUSTER = {**Q_CLUSTER, "poll": 2.0}
# Tables are made from the models at once.
MIGRATION_MODULES = {name.rpartition(".")[2]: None for name in INSTALLED_APPS}
