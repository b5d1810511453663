"""The API of networks: a router for each subject."""

from __future__ import annotations

from ninja import Router

from .dhcp.api import router as dhcp_router
from .addresses.api import router as addresses_router
from .switches.api import router as switches_router
from .traffic.api import router as traffic_router

router = Router()

router.add_router("/switches", switches_router)
router.add_router("", traffic_router)
router.add_router("", dhcp_router)
router.add_router("", addresses_router)
