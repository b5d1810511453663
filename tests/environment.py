"""Loaded before Django's settings: every test process has a state folder of its own, with a short path for sockets."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

if "BHYPE_TEST_STATE" not in os.environ:
    _folder = tempfile.mkdtemp(prefix="bht-", dir="/tmp")
    os.environ["BHYPE_TEST_STATE"] = _folder
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
# The processes of pytest-xdist inherit the folder and take one below it each.
_state = Path(os.environ["BHYPE_TEST_STATE"], os.environ.get("PYTEST_XDIST_WORKER", ""))
_state.mkdir(exist_ok=True)
os.environ["BHYPE_STATE"] = str(_state)
os.environ["BHYPE_HOST"] = "lab"
# Guests of test processes that run side by side listen on ports of their own.
_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["BHYPE_VNC_PORT"] = str(5900 + 200 * _number)
os.environ.pop("BHYPE_ROOT", None)
