"""What only `make test-long` runs: it takes minutes, or needs large things made first."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("BHYPE_LONG") else ["test_*.py"]
