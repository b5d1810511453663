"""service(8): starts and stops what rc(8) knows: ``service NAME start`` and so on, -e, -l, -r.

pf(4) and pflog(4) do what their scripts do, with the lab's own programs; netif and routing change nothing; of all
others the state "services" notes which of them run: {NAME: pid}. Source: S:libexec/rc/rc.subr (run_rc_command).
"""

from __future__ import annotations

import os

from bhype.lab import core, sysrc

USAGE = (
    "Usage:\n"
    "service [-j <jail name or id>] -e\n"
    "service [-j <jail name or id>] -R\n"
    "service [-j <jail name or id>] [-v] -l | -r\n"
    "service [-j <jail name or id>] [-v] [-E var=value] <rc.d script> start|stop|etc."
)
BASE = ("cron", "dhclient", "netif", "pf", "pflog", "routing", "sshd", "syslogd", "local_unbound", "bhyve")
PORTS = ("dnsmasq", "wireguard")
_ALWAYS = ("netif", "routing")
_VERBS = (
    "start",
    "stop",
    "restart",
    "status",
    "reload",
    "enable",
    "disable",
    "delete",
    "enabled",
    "rcvar",
    "check",
)


def main(argv: list[str]) -> int:
    core.fault(" ".join(["service", *argv]))
    try:
        options, words = core.getopt(argv, "eE:lrRvj:")
    except core.BadOption:
        core.fail(USAGE, 1)
    letters = {letter for letter, _ in options}
    if "e" in letters:
        for name in (*BASE, *PORTS):
            if _is_enabled(name):
                print(_script(name))
        return 0
    if "l" in letters or "r" in letters:
        print("\n".join(sorted((*BASE, *PORTS))))
        return 0
    if len(words) < 2:
        core.fail(USAGE, 1)
    name, verb = words[:2]
    if name not in (*BASE, *PORTS):
        core.fail(
            f"{name} does not exist in /etc/rc.d or the local startup\n"
            "directories (/usr/local/etc/rc.d), or is not executable",
            1,
        )
    return _run(name, verb)


def _script(name: str) -> str:
    return f"{'/usr/local' if name in PORTS else ''}/etc/rc.d/{name}"


def _is_enabled(name: str) -> bool:
    return name in _ALWAYS or sysrc.value(f"{name}_enable").lower() in ("yes", "true", "on", "1")


def _run(name: str, verb: str) -> int:
    bare = verb
    for prefix in ("one", "force", "quiet", "fast"):
        bare = bare.removeprefix(prefix)
    if bare not in _VERBS:
        usage = f"Usage: {_script(name)} [fast|force|one|quiet]({'|'.join(_VERBS)})"
        core.fail(f"{_script(name)}: unknown directive '{verb}'.\n{usage}", 1)
    match bare:
        case "enabled":
            return 0 if _is_enabled(name) else 1
        case "enable" | "disable":
            sysrc.write(core.root(sysrc.FILE), f"{name}_enable", "YES" if bare == "enable" else "NO")
            print(f"{name} {bare}d in /etc/rc.conf")
            return 0
        case "delete":
            sysrc.write(core.root(sysrc.FILE), f"{name}_enable", None)
            return 0
        case "rcvar":
            print(f'# {name}\n#\n{name}_enable="{"YES" if _is_enabled(name) else "NO"}"')
            return 0
        case "status":
            return _status(name)
    if verb == bare and not _is_enabled(name):
        print(
            f"Cannot '{verb}' {name}. Set {name}_enable to YES in /etc/rc.conf or use 'one{verb}' instead of '{verb}'."
        )
        return 0
    if name == "pf":
        return _pf(bare)
    with core.state("services") as data:
        runs = data.get(name)
        if bare == "start" and runs:
            print(f"{name} already running?  (pid={runs}).")
            return 1
        if bare in ("stop", "reload") and not runs and name not in _ALWAYS:
            print(f"{name} not running? (check /var/run/{name}.pid).")
            return 1
        if bare in ("stop", "restart") and runs:
            print(f"Stopping {name}.")
            del data[name]
        if bare in ("start", "restart") and name not in _ALWAYS:
            print(f"Starting {name}.")
            data[name] = 1000 + sum(map(ord, name))
    return 0


def _status(name: str) -> int:
    if name == "pf":
        return os.spawnv(os.P_WAIT, core.root("/sbin/pfctl"), ["pfctl", "-s", "info"])
    pid = core.peek("services").get(name)
    print(f"{name} is running as pid {pid}." if pid else f"{name} is not running.")
    return 0 if pid else 1


def _pf(verb: str) -> int:
    """/etc/rc.d/pf: start loads the rules and enables, stop disables, reload and check read the rules."""
    from bhype.lab import kldload

    rules = sysrc.value("pf_rules") or "/etc/pf.conf"
    kldload.load("pf")
    program = core.root("/sbin/pfctl")

    def pfctl(*words: str) -> int:
        return os.spawnv(os.P_WAIT, program, ["pfctl", *words])

    if verb in ("stop", "restart"):
        print("Disabling pf.", flush=True)
        pfctl("-q", "-d")
    if verb == "check":
        return pfctl("-q", "-n", "-f", rules)
    if verb in ("reload", "start", "restart"):
        if not os.path.exists(core.root(rules)):
            core.warn(f"/etc/rc.d/pf: WARNING: {rules} is not readable.")
            return 1
        print("Reloading pf rules." if verb == "reload" else "Enabling pf.", flush=True)
        code = pfctl("-q", "-f", rules)
        return code if verb == "reload" else max(code, pfctl("-q", "-e") and 0)
    return 0
