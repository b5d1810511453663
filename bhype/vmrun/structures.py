"""The values of a vm.json that are lists and objects. As those of `fields`: each function takes what JSON had and
returns it checked, or raises ValueError with a sentence."""

from __future__ import annotations

import re
from typing import Any

from bhype.freebsd.bhyve import Topology
from bhype.vmrun import fields

_VARIABLE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
# What may be asked of one VM: each pair is a word of bhyve's, and a short text can name many.
PINS_MAX, CPUS_TEXT_MAX = 8192, 4096
_CPUS = re.compile(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*")


@fields.shape(
    anyOf=[
        {"type": ["integer", "string"], "minimum": 1, "maximum": 65535, "pattern": "^[0-9]{1,5}$"},
        {
            "type": "object",
            "required": ["sockets", "cores", "threads"],
            "properties": {
                key: {"type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]{1,5}$"}
                for key in ("sockets", "cores", "threads")
            },
        },
    ]
)
def topology(value: Any) -> Topology:
    """A number of CPUs, or an object with sockets, cores and threads."""
    if not isinstance(value, dict):
        number = fields.count(value)
        if not 1 <= number <= 65535:
            raise ValueError(f"{number} is not a number of CPUs.")
        return Topology(number)
    missing = [key for key in ("sockets", "cores", "threads") if key not in value]
    if missing:
        raise ValueError(f"{', '.join(missing)} missing.")
    sockets, cores, threads = (fields.count(value[key]) for key in ("sockets", "cores", "threads"))
    return Topology(sockets * cores * threads, sockets, cores, threads)


@fields.shape(type=["array", "string"], items={"type": "string", "minLength": 1})
def words(value: Any) -> tuple[str, ...]:
    """Extra options for bhyve: a list of words, or one text split as a shell would."""
    if isinstance(value, str):
        import shlex  # rarely used, and a supervisor is to be small

        value = shlex.split(value)
    if not isinstance(value, list) or not all(
        isinstance(one, str) and one and one.isprintable() for one in value
    ):
        raise ValueError(f"{value!r} is not a list of options.")
    return tuple(value)


@fields.shape(type="object", additionalProperties={"type": ["string", "integer", "boolean"]})
def variables(value: Any) -> tuple[tuple[str, str], ...]:
    """Settings by name, bhyve_config(5) and loader(8)."""
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object.")
    return tuple((_variable(key), _setting(key, one)) for key, one in value.items())


@fields.shape(type="object", additionalProperties={"type": ["string", "integer", "boolean"]})
def options(value: Any) -> tuple[tuple[str, str], ...]:
    """Settings of bhyve_config(5), but for those that would make it another VM, or none."""
    found = variables(value)
    for key, _ in found:
        if key in {"name", "config.dump"}:
            raise ValueError(f"{key} cannot be set here.")
    return found


def _variable(key: str) -> str:
    if not _VARIABLE.fullmatch(key):
        raise ValueError(f"{key!r} is not the name of a setting.")
    return key


def _setting(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int) or not str(value) or not str(value).isprintable():
        raise ValueError(f"{value!r} is not a value for {key}.")
    return str(value)


@fields.shape(
    type="object",
    propertyNames={"pattern": "^[0-9]{1,5}$"},
    additionalProperties={
        "type": ["array", "string", "integer"],
        "items": {"type": ["integer", "string"], "minimum": 0, "maximum": 1023},
        "minItems": 1,
    },
)
def pinning(value: Any) -> tuple[tuple[int, int], ...]:
    """Pairs of a virtual CPU and a CPU of the host, from ``{"0": [2, 3], "1": "4-5"}``."""
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object.")
    pairs: list[tuple[int, int]] = []
    for vcpu, cpus in value.items():
        pairs += [(fields.limited(0, 65534)(vcpu), cpu) for cpu in _cpu_list(cpus)]
        if len(pairs) > PINS_MAX:
            raise ValueError(f"it has more than {PINS_MAX} pairs, which no command line holds.")
    return tuple(pairs)


def _cpu_list(value: Any) -> list[int]:
    if isinstance(value, str):
        if not _CPUS.fullmatch(value):
            raise ValueError(f'{value!r} is not a list of CPUs; write [2, 3] or "2-3,6".')
        if len(value) > CPUS_TEXT_MAX:
            raise ValueError(f"it is a list of more than {CPUS_TEXT_MAX} characters.")
        ends = [
            (int(first), min(int(last or first), max(int(first), 1024)))
            for first, _, last in (p.partition("-") for p in value.split(","))
        ]
        value = sorted({cpu for first, last in ends for cpu in range(first, last + 1)})
    cpus = [fields.limited(0, 1023)(cpu) for cpu in (value if isinstance(value, list) else [value])]
    if not cpus:
        raise ValueError("a virtual CPU needs at least one CPU of the host.")
    return sorted(set(cpus))


@fields.shape(type="array", items={"type": ["integer", "string"], "minimum": 0, "maximum": 255})
def statuses(value: Any) -> frozenset[int]:
    """Exit statuses of bhyve."""
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list of exit statuses such as [0].")
    return frozenset(fields.limited(0, 255)(one) for one in value)


@fields.shape(type=["array", "string"], items={"type": "string"})
def forwards(value: Any) -> tuple[str, ...]:
    """Ports that slirp passes on: ``tcp:127.0.0.1:2222-10.0.2.15:22``, several as a list."""
    found = value.split(";") if isinstance(value, str) else value
    form = r"(tcp|udp):[0-9.]*:[0-9]{1,5}-[0-9.]*:[0-9]{1,5}"
    rule = 'write it as "tcp:127.0.0.1:2222-10.0.2.15:22".'
    if not isinstance(found, list) or not all(
        isinstance(one, str) and re.fullmatch(form, one) for one in found
    ):
        raise ValueError(f"{value!r} is not a forwarded port; {rule}")
    return tuple(found)


@fields.shape(type="string", pattern="^/")
def script(value: Any) -> tuple[str, ...]:
    """A program of the host by its absolute path, and words for it, split as a shell would."""
    found = words(value)
    if not isinstance(value, str) or not found or not found[0].startswith("/") or ".." in found[0].split("/"):
        raise ValueError(f"{value!r} is not a program with an absolute path.")
    return found
