from __future__ import annotations

from .datasets import urls as datasets
from .library import urls as library
from .policies import urls as policies
from .pools import urls as pools
from .snapshots import urls as snapshots
from .uploads import urls as uploads

app_name = "storage"
urlpatterns = [
    *pools.urlpatterns,
    *snapshots.urlpatterns,
    *policies.urlpatterns,
    *datasets.urlpatterns,
    *library.urlpatterns,
    *uploads.urlpatterns,
]
