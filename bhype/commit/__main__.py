"""python -m bhype.commit: look at what waits for a confirmation, and decide on it from the host's console."""

from __future__ import annotations

import argparse
import os
import sys

if not __package__:
    # Started as "python .../bhype/commit": that folder stands first in the path, not the project's.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    __package__ = "bhype.commit"

from bhype import commit
from bhype.commit import guard
from bhype.host import CommandError, LocalHost


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bhype.commit", description=__doc__)
    parser.add_argument("--root", default="/", help="the folder that stands for FreeBSD's /")
    parser.add_argument("verb", choices=["list", "confirm", "revert", "guard"])
    parser.add_argument("name", nargs="?", help="of the change, such as firewall")
    chosen = parser.parse_args(argv)
    host = LocalHost(chosen.root)
    if chosen.verb == "list":
        for change in commit.pending(host):
            print(f"{change.name}\t{change.state}\t{change.remaining:.0f} s left\t{change.problem}")
        return 0
    if not chosen.name:
        parser.error("say which change")
    if chosen.verb == "guard":
        return guard.start(host, chosen.name)
    decide = commit.confirm if chosen.verb == "confirm" else commit.revert
    try:
        print(f"{chosen.name}: {decide(host, chosen.name).state}")
    except (commit.NoChange, commit.TooLate, CommandError, OSError, ValueError) as error:
        print(f"{chosen.name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
