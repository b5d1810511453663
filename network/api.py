"""The API of networks: a router for each subject."""

from __future__ import annotations

from ninja import Router

from .addresses.api import router as addresses_router
from .dhcp.api import router as dhcp_router
from .nat.api import router as nat_router
from .switches.api import router as switches_router
from .traffic.api import router as traffic_router
from .wireguard.api import router as wireguard_router

router = Router()

router.add_router("/switches", switches_router)
router.add_router("", traffic_router)
router.add_router("", wireguard_router)
router.add_router("", dhcp_router)
router.add_router("", addresses_router)
router.add_router("", nat_router)
