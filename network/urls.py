from __future__ import annotations

from .switches import urls as switches

app_name = "network"
urlpatterns = [
    *switches.urlpatterns,
]
