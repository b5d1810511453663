"""python bhype/outside PROGRAM: see the package."""

from __future__ import annotations

import os
import sys

if not __package__:
    # That folder stands first in the path, not the project's.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __package__ = "bhype.outside"

from bhype.outside import cage

if __name__ == "__main__":
    sys.exit(cage.main(sys.argv[1:]))
