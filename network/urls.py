from __future__ import annotations

from .changes import urls as changes
from .switches import urls as switches
from .traffic import urls as traffic

app_name = "network"
urlpatterns = [
    *changes.urlpatterns,
    *switches.urlpatterns,
    *traffic.urlpatterns,
]
