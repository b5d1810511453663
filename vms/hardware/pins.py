"""The CPUs of a host that VMs are pinned to. Two VMs may share one, but not by accident."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bhype.accounts.models import User
from bhype.vmrun.keys import KEYS
from vms.models import VM

Taken = dict[int, list[str]]


def host_cpus(pinning: Any) -> set[int]:
    """The host's CPUs in a pinning as vm.json has it; none where it is not valid."""
    try:
        return {cpu for _, cpu in KEYS["pinning"].read(pinning)}
    except (ValueError, TypeError):
        return set()


def taken(vm: VM, user: User) -> Taken:
    """The host's CPUs that other VMs are pinned to, with the names of those VMs; "another VM" for one that ``user``
    does not see."""
    found: Taken = {}
    others = VM.objects.filter(host=vm.host, settings__has_key="pinning").exclude(pk=vm.pk).order_by("name")
    rows = list(others.values_list("pk", "name", "settings"))
    seen = set(
        VM.objects.visible_to(user).filter(pk__in=[pk for pk, *_ in rows]).values_list("pk", flat=True)
    )
    for pk, name, settings in rows:
        shown = name if pk in seen else "another VM"
        for cpu in host_cpus(settings.get("pinning")):
            if shown not in found.setdefault(cpu, []):
                found[cpu].append(shown)
    return found


def told(found: Taken) -> str:
    """As "CPU 6: db1; CPU 7: db1, another VM"."""
    return "; ".join(f"CPU {cpu}: {', '.join(names)}" for cpu, names in sorted(found.items()))


def conflict(before: Any, after: Any, others: Taken) -> str:
    """Which of the CPUs that ``after`` has and ``before`` had not are others', as `told`; "" when none is."""
    new = host_cpus(after) - host_cpus(before)
    return told({cpu: names for cpu, names in others.items() if cpu in new})


def shared(vm: VM, before: Mapping[str, Any], after: Mapping[str, Any], user: User) -> str:
    """Which CPUs of other VMs the document ``after`` takes and ``before`` had not, as `told`; "" when none."""
    pinning = after.get("pinning")
    if pinning == before.get("pinning"):
        return ""
    return conflict(before.get("pinning"), pinning, taken(vm, user))
