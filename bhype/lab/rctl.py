"""rctl(8): rules about what processes may use, kept and shown; nobody is slowed down by them in the lab.

The state "rctl" has ``rules``: ``[[subject, id, resource, action, amount, per], ...]``, ids of users as numbers. A
rule of a process goes with it, as in the kernel. Sources: rctl(8), usr.bin/rctl/rctl.c (grammar, texts),
sys/kern/kern_rctl.c (rules that it refuses). Without kern.racct.enable=1 in /boot/loader.conf everything is refused.
"""

from __future__ import annotations

import re

from bhype.lab import core, ps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Rule = list[str]

USAGE = "usage: rctl [ -h ] [-a rule | -l filter | -r filter | -u filter | filter]"
SUBJECTS = {
    **{
        "u": "user",
        "g": "group",
        "p": "process",
        "l": "loginclass",
        "c": "loginclass",
        "class": "loginclass",
    },
    "j": "jail",
}
RESOURCES = (
    *(
        "cputime",
        "datasize",
        "stacksize",
        "coredumpsize",
        "memoryuse",
        "memorylocked",
        "maxproc",
        "openfiles",
    ),
    *(
        "vmemoryuse",
        "pseudoterminals",
        "swapuse",
        "nthr",
        "msgqqueued",
        "msgqsize",
        "nmsgq",
        "nsem",
        "nsemop",
    ),
    *("nshm", "shmsize", "wallclock", "pcpu", "readbps", "writebps", "readiops", "writeiops"),
)
THROTTLED = ("readbps", "writebps", "readiops", "writeiops")
# What the kernel cannot withhold: resources that only grow, or that are noticed too late (kern_rctl.c).
_NOT_DENIED = ("cputime", "wallclock", *THROTTLED)
_SIGNALS = (
    "deny",
    "log",
    "devctl",
    "throttle",
    *(f"sig{name}" for name in ("term", "kill", "hup", "stop", "usr1", "xcpu")),
)
_INVALID, _NO_PROCESS = "Invalid argument", "No such process"
_UNITS = "kmgtpe"


def main(argv: list[str]) -> int:
    core.fault(" ".join(["rctl", *argv]))
    try:
        options, words = core.getopt(argv, "ahlnru")
    except core.BadOption as error:
        core.fail(f"rctl: illegal option -- {error.letter}\n{USAGE}", 1)
    letters = {letter for letter, _ in options}
    verbs = letters & set("alru")
    if len(verbs) > 1:
        core.fail("rctl: at most one of -a, -l, -r, or -u may be specified", 1)
    if not words:
        if verbs:
            core.fail(USAGE, 1)
        words = ["::"]
    verb = next(iter(verbs), "")
    failures = 0
    for word in words:
        text = _expand(word)
        failures += text is None or not _ask(verb, text, word, letters)
    return failures


def _expand(word: str) -> str | None:
    """The rule with its subject's full name, its user's number and its amount in plain digits, or None."""
    parts = word.split(":", 2)
    if len(parts) < 2:
        core.warn(f"rctl: malformed rule '{word}': missing subject")
        return None
    subject, identity = parts[0], parts[1]
    subject = SUBJECTS.get(subject.lower(), subject)
    if subject.lower() in ("user", "group") and identity and not identity.isdigit():
        if identity not in ("root", "wheel"):
            core.warn(f"rctl: malformed rule '{word}': uknown {subject.lower()} '{identity}'")
            return None
        identity = "0"
    rest, equals, amount = (parts[2] if len(parts) == 3 else "").partition("=")
    amount, slash, per = amount.partition("/")
    if amount:
        number = _number(amount)
        if number is None:
            core.warn(f"rctl: malformed rule '{word}': invalid numeric value '{amount}'")
            return None
        amount = str(number)
    return f"{subject}:{identity}:{rest}{equals}{amount}{slash}{per}"


def _number(text: str) -> int | None:
    """expand_number(3): a number and a unit of 1024s."""
    match = re.fullmatch(r"\s*(\d+)([kmgtpe]?)b?", text, re.IGNORECASE)
    if not match:
        return None
    number = int(match[1]) << 10 * (_UNITS.index(match[2].lower()) + 1 if match[2] else 0)
    return number if number < 1 << 64 else None


def _ask(verb: str, text: str, word: str, letters: set[str]) -> bool:
    """The system call behind a verb; False when it fails."""
    if core.peek("host").get("tunables", {}).get("kern.racct.enable") != "1":
        core.fail("rctl: RACCT/RCTL present, but disabled; enable using kern.racct.enable=1 tunable", 1)
    what = {
        "a": f"add rule '{word}'", "l": f"get limits for '{word}'", "r": f"remove rule '{word}'",
        "u": f"show resource consumption for '{word}'", "": f"show rules for '{word}'",
    }[verb]  # fmt: skip
    rule = _parse(text)
    reason = _INVALID if rule is None else ""
    lines: list[str] = []
    if rule is not None:
        with core.state("rctl") as data:
            rules: list[Rule] = data.setdefault("rules", [])
            rules[:] = [each for each in rules if each[0] != "process" or _lives(each[1])]
            if verb == "a":
                reason = _add(rules, rule)
            elif verb == "r":
                left = [each for each in rules if not _matches(rule, each)]
                reason = "" if len(left) < len(rules) else _NO_PROCESS
                rules[:] = left
            elif verb in ("l", "u"):
                reason = _subject_trouble(rule)
                lines = [] if reason else _usage(rule) if verb == "u" else _shown(rules, rule)
            else:
                lines = _shown(rules, rule)
    if reason:
        core.warn(f"rctl: failed to {what}: {reason}")
        return False
    for line in lines:
        named = line if "n" in letters or verb == "u" else _named(line)
        print(_human(named) if "h" in letters else named)
    return True


def _parse(text: str) -> Rule | None:
    """rctl_string_to_rule: empty parts match anything. None is EINVAL."""
    head, _, amount = text.partition("=")
    parts = head.split(":")
    if len(parts) > 4:
        return None
    subject, identity, resource, action = (parts + [""] * 4)[:4]
    action, slash, per_only = action.partition("/")
    amount, _, per = amount.partition("/")
    per = per or (per_only if slash else "")
    known = (
        (subject, ("process", "user", "loginclass", "jail")), (resource, RESOURCES), (action, _SIGNALS),
        (per, ("process", "user", "loginclass", "jail")),
    )  # fmt: skip
    if any(value and value not in names for value, names in known):
        return None
    if subject in ("process", "user") and identity and not identity.isdigit():
        return None
    return [subject, identity, resource, action, amount, per]


def _lives(pid: str) -> bool:
    return int(pid) in ps.pids()


def _add(rules: list[Rule], rule: Rule) -> str:
    subject, identity, resource, action, amount, per = rule
    if not (subject and identity and resource and action and amount) or not int(amount):
        return _INVALID
    per = rule[5] = per or subject
    order = ("process", "user", "loginclass", "jail")
    if order.index(per) > order.index(subject):
        return _INVALID
    if (action == "deny" and resource in _NOT_DENIED) or (action == "throttle" and resource not in THROTTLED):
        return "Operation not supported"
    if subject == "process" and not _lives(identity):
        return _NO_PROCESS
    rules.append(rule)
    return ""


def _subject_trouble(rule: Rule) -> str:
    if not rule[0] or not rule[1]:
        return _INVALID
    return _NO_PROCESS if rule[0] == "process" and not _lives(rule[1]) else ""


def _matches(pattern: Rule, rule: Rule) -> bool:
    return all(not wanted or wanted == there for wanted, there in zip(pattern, rule, strict=True))


def _shown(rules: list[Rule], pattern: Rule) -> list[str]:
    found = []
    for subject, identity, resource, action, amount, per in (
        each for each in rules if _matches(pattern, each)
    ):
        tail = f"/{per}" if per != subject else ""
        found.append(f"{subject}:{identity}:{resource}:{action}={amount}{tail}")
    return found


def _usage(rule: Rule) -> list[str]:
    """What a process uses: CPU and memory of its guest's QEMU for a bhyve."""
    row = next((each for each in ps.rows() if rule[0] != "process" or each["pid"] == rule[1]), None)
    used: dict[str, Any] = dict.fromkeys(RESOURCES, 0)
    if row:
        used["pcpu"] = round(float(row["%cpu"]))
        used["memoryuse"] = int(row["rss"]) * 1024
        used["vmemoryuse"] = int(row["vsz"]) * 1024
        used["wallclock"] = int(row["etimes"])
        used["maxproc"] = used["nthr"] = 1
        minutes, seconds = row["time"].split(":")
        used["cputime"] = int(minutes) * 60 + round(float(seconds))
    return [f"{name}={value}" for name, value in used.items()]


def _named(line: str) -> str:
    subject, identity, rest = line.split(":", 2)
    return f"{subject}:root:{rest}" if (subject, identity) == ("user", "0") else line


def _human(line: str) -> str:
    """humanize_number(3) with five characters: ``10M``, ``1.5G``."""
    head, _, amount = line.partition("=")
    digits, slash, per = amount.partition("/")
    number, unit = float(digits), ""
    for next_unit in ("K", "M", "G", "T", "P", "E"):
        if number < 1000:
            break
        number, unit = number / 1024, next_unit
    text = f"{number:.1f}" if unit and number < 9.95 and number != int(number) else str(round(number))
    return f"{head}={text}{unit}{slash}{per}"
