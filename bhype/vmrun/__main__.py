"""python -m bhype.vmrun: run one VM from its vm.json, see USAGE."""

from __future__ import annotations

import os
import sys

if not __package__:
    # Started as "python .../bhype/vmrun": that folder stands first in the path, not the project's.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __package__ = "bhype.vmrun"

from bhype.vmrun.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
