from __future__ import annotations

from . import urls_datasets, urls_library, urls_snapshots
from .pools import urls as pools

app_name = "storage"
urlpatterns = [
    *pools.urlpatterns,
    *urls_snapshots.urlpatterns,
    *urls_datasets.urlpatterns,
    *urls_library.urlpatterns,
]
