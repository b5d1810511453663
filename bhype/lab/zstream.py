"""zstream(8) of the lab: ``dump`` tells what a stream of the lab's own format holds, as the real one does of ZFS's.

Words: cmd/zstream/zstream_dump.c, without -v: the BEGIN and END records, then a summary.
"""

from __future__ import annotations

import os
import sys

from bhype.lab import core
from bhype.lab.openzfs.stream import BadStream, Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

USAGE = (
    "usage: zstream command args ...\nAvailable commands are:\n\n"
    "\tzstream dump [-vCd] FILE\n\t... | zstream dump [-vCd]\n"
)
TYPES = {"filesystem": 2, "volume": 3}


def main(argv: list[str]) -> int:
    core.fault(" ".join(["zstream", *argv]))
    if argv[:1] != ["dump"]:
        core.fail(USAGE, 1)
    try:
        _, arguments = core.getopt(argv[1:], "vCd")
    except core.BadOption as error:
        core.fail(f"zstream: invalid option '{error.letter}'\n{USAGE}", 1)
    if arguments:
        try:
            handle = os.open(core.root(arguments[0]), os.O_RDONLY)
        except OSError as error:
            core.fail(f"Error while opening file '{arguments[0]}': {error.strerror}", 1)
    else:
        handle = 0
    return _dump(Reader(handle))


def _dump(reader: Reader) -> int:
    begins = ends = others = 0
    code = 0
    try:
        depth = 0
        while True:
            record = reader.begin()
            ends += 1
            if record is None:
                print("END checksum = 0/0/0/0")
                break
            begins += 1
            _begin(record)
            others += sum(1 for _ in reader.rest())
            print(f"END checksum = {reader.digest.hexdigest()[:16]}/0/0/0")
            depth += bool(record.get("package"))
            if not depth:
                break
    except BadStream as error:
        sys.stdout.flush()
        core.warn(f"Invalid stream: {error}")
        code = 1
    print("SUMMARY:")
    print(f"\tTotal DRR_BEGIN records = {begins} (0 bytes)")
    print(f"\tTotal DRR_END records = {ends} (0 bytes)")
    print(f"\tTotal DRR_WRITE records = {others} ({reader.read_bytes} bytes)")
    print(f"\tTotal records = {begins + ends + others}")
    print(f"\tTotal stream length = {reader.read_bytes} (0x{reader.read_bytes:x})")
    return code


def _begin(record: dict[str, Any]) -> None:
    print("BEGIN record")
    print(f"\thdrtype = {2 if record.get('package') else 1}")
    print("\tfeatures = 4")
    print("\tmagic = 2f5bacbac")
    print(f"\tcreation_time = {record.get('creation', 0):x}")
    print(f"\ttype = {TYPES.get(record.get('type', ''), 0)}")
    print(f"\tflags = 0x{int(bool(record.get('clone'))):x}")
    print(f"\ttoguid = {record.get('toguid', 0):x}")
    print(f"\tfromguid = {record.get('fromguid', 0):x}")
    print(f"\ttoname = {record['toname']}")
    print("\tpayloadlen = 0")
