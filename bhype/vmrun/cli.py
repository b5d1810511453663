"""The command line of vmrun. Its options are few and read by hand: argparse alone would take a tenth of the
memory that a supervisor may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bhype.freebsd import bhyve
from bhype.freebsd.command import ParseError
from bhype.host import CommandError, Host, LocalHost
from bhype.vmrun import config as configuration
from bhype.vmrun.config import Document, Graphic
from bhype.vmrun.problems import Problem, Unfit, tree
from bhype.vmrun.rundir import RUN_DIR, Busy, RunDir

USAGE = """\
usage: python -m bhype.vmrun -c FILE|- [options] [-- BHYVE_OPTIONS]
       python -m bhype.vmrun --schema

  -c, --config FILE     the VM's configuration, JSON; - reads standard input
  -t, --target NAME     lay this target over the configuration
  -d, --dry-run         print the bhyve command on one line and what is missing, change nothing
      --debug           also print the configuration as it was understood, and keys that nothing reads
      --root DIR        the folder that stands for FreeBSD's / (default: $BHYPE_ROOT, or the lab's, or /)
      --run-dir DIR     where the VM's run directory is made (default: /var/run/bhype/vms below the root)
      --detach          return when the VM runs, leaving its supervisor behind
      --no-reboot       end when the guest reboots
      --reboot-on CSV   exit statuses of bhyve after which the guest is started again (default: 0)
      --reboot-count N  start the guest again at most N times
      --adopt           take over a running bhyve, or clean up what it left; start none
  -f, --force           make what the devices need also without "fix"
  -p FILE               write the number of the bhyve process there
  -P FILE               write the number of the supervisor's process there
      --schema          print the JSON Schema of a configuration
"""

_VALUES = {
    "-c": "config", "--config": "config", "-t": "target", "--target": "target", "--root": "root",
    "--run-dir": "run_dir", "--reboot-on": "reboot_on", "--reboot-count": "reboot_count",
    "-p": "pid_file", "-P": "supervisor_pid_file",
}  # fmt: skip
_FLAGS = {
    "-d": "dry_run", "--dry-run": "dry_run", "--debug": "debug", "--detach": "detach", "--adopt": "adopt",
    "--no-reboot": "no_reboot", "-f": "force", "--force": "force",
    "-h": "help", "--help": "help",
}  # fmt: skip


class Misuse(Exception):
    """The command line is wrong. A sentence."""


@dataclass(slots=True)
class Options:
    """The command line, read."""

    values: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    rest: list[str] = field(default_factory=list)


def read_options(argv: list[str]) -> Options:
    """Raises Misuse. Values stand in the next word, behind "=", or attached to a short option ("-c-")."""
    options = Options()
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--":
            options.rest = list(words)
        elif word in _FLAGS:
            options.flags.add(_FLAGS[word])
        elif name.startswith("--") and equals and name in _VALUES:
            options.values[_VALUES[name]] = value
        elif word in _VALUES:
            following = next(words, None)
            if following is None:
                raise Misuse(f"{word} wants a value.")
            options.values[_VALUES[word]] = following
        elif word[:2] in _VALUES and len(word) > 2 and word[1] != "-":
            options.values[_VALUES[word[:2]]] = word[2:]
        else:
            raise Misuse(f"There is no option {word}.")
    if "config" not in options.values and "help" not in options.flags:
        raise Misuse("-c is missing.")
    folder = options.values.get("run_dir", RUN_DIR)
    if not folder.startswith("/") or ".." in folder.split("/"):
        raise Misuse("--run-dir wants an absolute path.")
    return options


def main(argv: list[str]) -> int:
    """Run the command; the result is its exit status: bhyve's own, 1 for problems, 64 for misuse."""
    if argv == ["--schema"]:
        from bhype.vmrun import schema

        print(schema.text(), end="")
        return 0
    try:
        options = read_options(argv)
        if "help" in options.flags:
            print(USAGE, end="")
            return 0
        root = options.values.get("root") or default_root()
        host = LocalHost(root)
        document = _document(options)
        if "debug" in options.flags:
            _debug(document, options)
        if "dry_run" in options.flags:
            return _show(host, document, options)
        return _run(host, document, options)
    except Misuse as error:
        print(f"vmrun: {error}\n{USAGE}", end="", file=sys.stderr)
        return 64
    except Unfit as error:
        print(tree(error.name, error.problems), file=sys.stderr)
    except (Busy, CommandError, ParseError) as error:
        print(f"vmrun: {error}", file=sys.stderr)
    except OSError as error:
        print(f"vmrun: {error.filename or 'the run directory'}: {error.strerror or error}", file=sys.stderr)
    return 1


def default_root() -> str:
    """Where FreeBSD's / is when nobody says: on Linux the lab of this checkout, if it has one."""
    root = os.environ.get("BHYPE_ROOT")
    if root or sys.platform.startswith("freebsd"):
        return root or "/"
    project = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    lab = f"{os.environ.get('BHYPE_STATE') or f'{project}/.state'}/lab/root"
    return lab if os.path.isdir(lab) else "/"


def _document(options: Options) -> Document:
    source = options.values["config"]
    if source == "-":
        text = sys.stdin.read()
    else:
        with open(source, encoding="utf-8", errors="replace") as file:
            text = file.read()
    document = configuration.load(text)
    if options.rest:
        before = document.get("extra_options")
        document["extra_options"] = [*(before if isinstance(before, list) else []), *options.rest]
    if "force" in options.flags and isinstance(document.get("emulations"), list):
        for device in document["emulations"]:
            if isinstance(device, dict):
                device["fix"] = True
    return document


# What --debug shows of a password.
HIDDEN = "***"


def _debug(document: Document, options: Options) -> None:
    config = configuration.parse(configuration.select(document, options.values.get("target")))
    for name in config.__slots__:
        value = getattr(config, name)
        shown = replace(value, password=HIDDEN) if isinstance(value, Graphic) and value.password else value
        print(f"{name}: {shown}", file=sys.stderr)
    for key in config.unknown:
        print(f"not read: {key}", file=sys.stderr)


def _show(host: Host, document: Document, options: Options) -> int:
    """The dry run: the command on one line of stdout, everything else on stderr."""
    import shlex

    from bhype.vmrun.check import check, locate, running
    from bhype.vmrun.machine import machine

    config = configuration.parse(configuration.select(document, options.values.get("target")))
    rundir = RunDir(host, config.name, options.values.get("run_dir", RUN_DIR))
    problems = [*running(host, config), *_unattended(config, options)]
    try:
        config = locate(host, config)
    except (CommandError, ParseError) as error:
        # The line is printed all the same.
        problems.append(Problem("passthru", str(error)))
    plan = machine(config, folder=rundir.path)
    problems += check(host, config, plan)
    print(shlex.join(bhyve.command(plan).argv))
    if problems:
        print(tree(config.name, problems), file=sys.stderr)
    return 1 if problems else 0


def _unattended(config: configuration.Config, options: Options) -> list[Problem]:
    if "detach" in options.flags and "stdio" in dict(config.com).values():
        mend = "Give it a null-modem device such as /dev/nmdm-NAME.1A."
        return [Problem("serial", "A VM in the background has no standard input and output.", mend)]
    return []


def _run(host: Host, document: Document, options: Options) -> int:
    from bhype.vmrun.daemon import detach
    from bhype.vmrun.files import write_pid
    from bhype.vmrun.machine import machine
    from bhype.vmrun.policy import Policy
    from bhype.vmrun.supervisor import Supervisor

    config = configuration.parse(configuration.select(document, options.values.get("target")))
    problems = _unattended(config, options)
    if problems:
        raise Unfit(config.name, problems)
    machine(config)  # its complaints are better heard here than from the background
    policy = Policy(
        target=options.values.get("target"),
        reboot_on=_statuses(options),
        reboot_count=_limit(options),
        adopt="adopt" in options.flags,
        pid_file=_pid_file(options, "pid_file"),
    )
    own_pid_file = _pid_file(options, "supervisor_pid_file")
    rundir = RunDir(host, config.name, options.values.get("run_dir", RUN_DIR))
    rundir.take()

    def supervise(report: Callable[[str], None]) -> int:
        if own_pid_file:
            write_pid(own_pid_file, os.getpid())
        return Supervisor(rundir, document, policy, report).run()

    if "detach" in options.flags:
        return detach(rundir, supervise)

    def report(message: str) -> None:
        if message:
            print(message, file=sys.stderr)

    return supervise(report)


def _pid_file(options: Options, key: str) -> str | None:
    """The absolute path of a file that can be written; one that cannot is better told now. Raises OSError."""
    path = options.values.get(key)
    if path is None:
        return None
    with open(path, "a", encoding="ascii"):
        return os.path.abspath(path)


def _statuses(options: Options) -> frozenset[int] | None:
    """None when the command line does not say: then the configuration does."""
    if "no_reboot" in options.flags:
        return frozenset()
    if "reboot_on" not in options.values:
        return None
    words = options.values["reboot_on"].split(",")
    if not all(_is_number(word.strip()) for word in words):
        raise Misuse("--reboot-on wants exit statuses such as 0,2.")
    return frozenset(int(word) for word in words)


def _limit(options: Options) -> int | None:
    word = options.values.get("reboot_count")
    if word is None:
        return None
    if not _is_number(word):
        raise Misuse("--reboot-count wants a number.")
    return int(word)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10
