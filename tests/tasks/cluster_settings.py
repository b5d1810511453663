"""bHype's settings with the operations of the tests, for processes outside of pytest."""

from __future__ import annotations

from bhype.settings import *  # noqa: F403
from bhype.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.tasks.sample"]
# Tables are made from the models at once.
MIGRATION_MODULES = {name.rpartition(".")[2]: None for name in INSTALLED_APPS}
