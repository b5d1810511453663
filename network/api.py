"""The API of networks: a router for each subject."""

from __future__ import annotations

from ninja import Router

from .addresses.api import router as addresses_router
from .aggregations.api import router as aggregations_router
from .aliases.api import router as aliases_router
from .blocked.api import router as blocked_router
from .changes.api import router as changes_router
from .dhcp.api import router as dhcp_router
from .firewall.api import router as firewall_router
from .firewall.api_apply import router as apply_router
from .forwards.api import router as forwards_router
from .nat.api import router as nat_router
from .switches.api import interfaces_router
from .switches.api import router as switches_router
from .topology.api import router as topology_router
from .traffic.api import router as traffic_router
from .wireguard.api import router as wireguard_router

router = Router()

router.add_router("/switches", switches_router)
router.add_router("/interfaces", interfaces_router)
router.add_router("/aggregations", aggregations_router)
router.add_router("", topology_router)
router.add_router("", traffic_router)
router.add_router("", wireguard_router)
router.add_router("", dhcp_router)
router.add_router("", addresses_router)
router.add_router("", nat_router)
router.add_router("", firewall_router)
router.add_router("", apply_router)
router.add_router("", forwards_router)
router.add_router("", aliases_router)
router.add_router("", blocked_router)
router.add_router("", changes_router)
