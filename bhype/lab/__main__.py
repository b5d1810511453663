"""``python -m bhype.lab create|stop|fault|clear|disk|wires DIR``: the lab host from outside."""

from __future__ import annotations

import argparse
import os
import sys

from bhype.lab import disks, release, tree, wires


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bhype.lab", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    create = verbs.add_parser("create", help="make the lab, or refresh its programs")
    create.add_argument("--cpus", type=int, default=os.cpu_count() or 1)
    create.add_argument(
        "--memory", type=int, default=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )
    create.add_argument("--pool", default="tank")
    create.add_argument("--size", type=int, default=100 * tree.GIB, help="bytes of the pool")
    create.add_argument("--nics", type=int, default=1, help="em0 and so on, each in a network of its own")
    create.add_argument("--release", choices=tuple(release.KERNELS), default="", help="of FreeBSD (14.3)")
    stop = verbs.add_parser("stop", help="end all guests")
    stop.add_argument("--grace", type=float, default=3.0, help="seconds between SIGTERM and SIGKILL")
    fault = verbs.add_parser("fault", help="make programs fail as the JSON says")
    clear = verbs.add_parser("clear", help="let all programs work again")
    for verb in (create, stop, fault, clear):
        verb.add_argument("folder", metavar="DIR")
    fault.add_argument("json", help='such as \'{"command": "zfs create", "nth": 2, "do": "fail"}\'')
    disk = verbs.add_parser("disk", help="do to a disk what happens to disks")
    disk.add_argument("folder", metavar="DIR")
    disk.add_argument("happens", choices=disks.VERBS)
    disk.add_argument("name", help="such as da1")
    disk.add_argument("amount", type=int, nargs="?", default=0, help="degrees (heat), bytes (rot, add)")
    wire = verbs.add_parser("wires", help="let frames move: network namespaces with real interfaces (root)")
    wire.add_argument("folder", metavar="DIR")
    wire.add_argument("what", choices=("on", "off", "status"))
    asked = parser.parse_args()
    if asked.verb == "create":
        numbers = {"cpus": asked.cpus, "memory": asked.memory, "size": asked.size, "nics": asked.nics}
        for sentence in tree.create(asked.folder, pool=asked.pool, release=asked.release, **numbers):
            print(sentence, file=sys.stderr)
    elif asked.verb == "stop":
        print(f"{tree.stop(asked.folder, grace=asked.grace)} guests ended")
    elif asked.verb == "wires":
        return _wires(asked.folder, asked.what)
    elif asked.verb == "disk":
        try:
            tree.disk(asked.folder, asked.happens, asked.name, asked.amount)
        except ValueError as error:
            parser.error(str(error))
    else:
        try:
            tree.set_faults(asked.folder, asked.json if asked.verb == "fault" else "")
        except ValueError as error:
            parser.error(str(error))
    return 0


def _wires(folder: str, what: str) -> int:
    """Status 1 when wires cannot be, or (status) are not. What is simulated goes to stdout, a line each."""
    try:
        is_on = tree.wire(folder, what)
    except wires.Unwired as error:
        print(error, file=sys.stderr)
        return 1
    print("on" if is_on else "off")
    for sentence in wires.simulated():
        print(sentence)
    return 0 if is_on or what == "off" else 1


if __name__ == "__main__":
    sys.exit(main())
