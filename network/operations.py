"""What the worker does to networks: the door of all its operations. They are registered by being imported."""

from __future__ import annotations

from .blocked import operations as blocked
from .changes import operations as changes
from .dhcp import operations as dhcp
from .firewall import operations as firewall
from .nat import operations as nat
from .pfconf import operations as pfconf
from .switches import operations as switches
from .switches import operations_host
from .wireguard import operations as wireguard

OTHERS = (blocked, changes, dhcp, firewall, nat, pfconf, switches, operations_host, wireguard)
