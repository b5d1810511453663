"""The API of storage: pools, their datasets, and install media. Sizes are bytes."""

from __future__ import annotations

from ninja import Router

from .api_datasets import orphans as orphans_router
from .api_datasets import router as datasets_router
from .api_library import entries as entries_router
from .api_library import images as images_router
from .api_library import isos as isos_router
from .api_snapshots import policy_router
from .api_snapshots import router as snapshots_router
from .api_uploads import router as uploads_router
from .pools.api import router as pools_router

router = Router()


router.add_router("/datasets", datasets_router)
router.add_router("/orphans", orphans_router)
router.add_router("/snapshots", snapshots_router)
router.add_router("/snapshot-policies", policy_router)
router.add_router("/uploads", uploads_router)
router.add_router("/isos", isos_router)
router.add_router("/images", images_router)
router.add_router("/catalogue", entries_router)
router.add_router("", pools_router)
