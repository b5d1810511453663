from __future__ import annotations

from .addresses import urls as addresses
from .changes import urls as changes
from .dhcp import urls as dhcp
from .switches import urls as switches
from .traffic import urls as traffic

app_name = "network"
urlpatterns = [
    *addresses.urlpatterns,
    *dhcp.urlpatterns,
    *changes.urlpatterns,
    *switches.urlpatterns,
    *traffic.urlpatterns,
]
