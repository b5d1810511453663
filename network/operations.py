"""What the worker does to networks: the door of all its operations. They are registered by being imported."""

from __future__ import annotations

from .changes import operations as changes
from .dhcp import operations as dhcp
from .firewall import operations as firewall
from .switches import operations as switches

OTHERS = (changes, dhcp, firewall, switches)
