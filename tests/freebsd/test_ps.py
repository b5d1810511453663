"""ps(1) of hosts that are short of memory."""

from __future__ import annotations

import json

from bhype.freebsd import ps


def test_a_process_that_is_swapped_out_hides_no_other():
    """Before FreeBSD 15 ps(1) prints "-" for its times."""
    shared = {"percent-cpu": "0.0", "rss": "0"}
    rows = [
        {"pid": "7", "elapsed-times": "-", "command": "(sh)", **shared},
        {"pid": "8", "elapsed-times": "60", "command": "bhyve: web1 (bhyve)", **shared},
    ]
    found = ps.processes().parse(json.dumps({"process-information": {"process": rows}}))
    assert [(one.pid, one.elapsed, one.vm) for one in found] == [(7, 0, None), (8, 60, "web1")]
