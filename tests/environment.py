"""Loaded before Django's settings: every test run has a state folder of its own, with a short path for sockets."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

if "BHYPE_TEST_STATE" not in os.environ:
    _folder = tempfile.mkdtemp(prefix="bht-", dir="/tmp")
    os.environ["BHYPE_TEST_STATE"] = _folder
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["BHYPE_STATE"] = os.environ["BHYPE_TEST_STATE"]
os.environ["BHYPE_HOST"] = "lab"
os.environ.pop("BHYPE_ROOT", None)
