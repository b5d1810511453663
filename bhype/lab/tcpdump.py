"""tcpdump(1) on pflog0, as ``tcpdump -n -e -ttt -l -i pflog0``: what rules with ``log`` have met."""

from __future__ import annotations

from bhype.lab import core

USAGE = """tcpdump version 4.99.5
libpcap version 1.10.5
Usage: tcpdump [-AbdDefhHIJKlLnNOpqStuUvxX#] [ -B size ] [ -c count ] [--count]
\t\t[ -i interface ] [ -s snaplen ] [ expression ]"""


def main(argv: list[str]) -> int:
    core.fault(" ".join(["tcpdump", *argv]))
    try:
        found, words = core.getopt(argv, "AbB:c:deDfi:lLnNOpqr:s:StuUvw:xX")
    except core.BadOption as error:
        problem = "option requires an argument" if error.missing else "invalid option"
        core.fail(f"tcpdump: {problem} -- '{error.letter}'\n{USAGE}", 1)
    options = dict(found)
    from bhype.lab.pf import kernel, log

    interface = options.get("i", "em0")
    if interface != "pflog0" or "pflog" not in core.peek("kld").get("loaded", {}) or not kernel.loaded():
        known = core.peek("ifconfig").get("interfaces", {})
        if interface not in known:
            core.fail(
                f"tcpdump: {interface}: No such device exists\n(BIOCSETIF failed: Device not configured)", 1
            )
    return log.follow(options, sum(letter == "t" for letter, _ in found), words)
