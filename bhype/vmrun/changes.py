"""What can be changed of a running VM: a request of the control socket, laid over its configuration. No I/O."""

from __future__ import annotations

import json
from typing import Any

from bhype.vmrun.config import Document
from bhype.vmrun.devices import NETWORK

PLAIN = ("nice", "protect")
RATES = ("rate_in", "rate_out")
PORT = ("bridge", "private", "vlan", "tagged", "link")


def with_limits(document: Document, request: Document) -> Document:
    """``limits``, ``nice`` and ``protect`` of the request as a vm.json has them, and ``rates`` by device, as
    {"tap1001": {"rate_in": "10M", "rate_out": null}}. What is absent stays, null removes. Raises ValueError."""
    changed = _copy(document)
    _lay(changed, {key: request[key] for key in PLAIN if key in request})
    limits = request.get("limits")
    if isinstance(limits, dict):
        # One by one, so that those that are not named stay.
        before = changed.get("limits")
        changed["limits"] = dict(before) if isinstance(before, dict) else {}
        _lay(changed["limits"], limits)
    elif "limits" in request:
        _lay(changed, {"limits": limits})
    rates = request.get("rates") or {}
    if not isinstance(rates, dict):
        raise ValueError("rates is not a JSON object.")
    for name, values in rates.items():
        if not isinstance(values, dict) or not values.keys() <= set(RATES):
            raise ValueError(f"rates: {name} has {' and '.join(RATES)}, and nothing else.")
        _lay(find(changed, name), values)
    return changed


def with_link(document: Document, request: Document) -> Document:
    """``device`` and ``up`` of the request. Raises ValueError."""
    if not isinstance(request.get("up"), bool):
        raise ValueError("up is not true or false.")
    changed = _copy(document)
    find(changed, request.get("device"))["link"] = "up" if request["up"] else "down"
    return changed


def with_port(document: Document, request: Document) -> Document:
    """``device`` of the request, plugged in as its ``port`` says: keys of PORT as a vm.json has them. What is absent
    stays, null removes. Raises ValueError."""
    values = request.get("port")
    if not isinstance(values, dict) or not values.keys() <= set(PORT):
        raise ValueError(f"port has {', '.join(PORT)}, and nothing else.")
    changed = _copy(document)
    _lay(find(changed, request.get("device")), values)
    return changed


def find(document: Document, device: Any) -> Document:
    """The network device of that tap, or with that number among the emulations. Raises ValueError."""
    # A tap's name, a number, or a number as the key of a JSON object.
    wanted = str(device) if isinstance(device, str | int) and not isinstance(device, bool) else None
    for number, entry in enumerate(document.get("emulations") or []):
        if entry.get("device") in NETWORK and wanted in {entry.get("name"), str(number)} - {None}:
            found: Document = entry
            return found
    raise ValueError(f"There is no network device {device!r}.")


def without_secrets(document: Document) -> Document:
    """The configuration without the password of its screen."""
    shown = _copy(document)
    for part in (shown, *(shown.get("targets") or {}).values()):
        if isinstance(part, dict) and isinstance(part.get("graphic"), dict):
            part["graphic"].pop("password", None)
    return shown


def with_secrets(shown: Document, document: Document) -> Document:
    """The inverse: the password comes from another reading of the VM's configuration."""
    changed = _copy(shown)
    screen, other = changed.get("graphic"), document.get("graphic")
    if isinstance(screen, dict) and isinstance(other, dict) and other.get("password") is not None:
        screen["password"] = other["password"]
    return changed


def _lay(target: Document, values: Document) -> None:
    """Replace what is given, and remove what is null."""
    for key, value in values.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value


def _copy(document: Document) -> Document:
    copy: Document = json.loads(json.dumps(document))
    return copy
