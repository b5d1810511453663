"""The API of storage: pools, datasets, snapshots, the library and uploads. Sizes are bytes."""

from __future__ import annotations

from ninja import Router

from .datasets.api import orphans as orphans_router
from .datasets.api import router as datasets_router
from .library.api import entries as entries_router
from .library.api import images as images_router
from .library.api import isos as isos_router
from .policies.api import router as policies_router
from .pools.api import router as pools_router
from .snapshots.api import router as snapshots_router
from .uploads.api import router as uploads_router

router = Router()


router.add_router("/datasets", datasets_router)
router.add_router("/orphans", orphans_router)
router.add_router("/snapshots", snapshots_router)
router.add_router("/snapshot-policies", policies_router)
router.add_router("/uploads", uploads_router)
router.add_router("/isos", isos_router)
router.add_router("/images", images_router)
router.add_router("/catalogue", entries_router)
router.add_router("", pools_router)
