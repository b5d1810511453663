"""What only `make test-long` runs: it builds a guest, which takes minutes the first time."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("BHYPE_LONG") else ["test_*.py"]
