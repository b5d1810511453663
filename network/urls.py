from __future__ import annotations

from .addresses import urls as addresses
from .aggregations import urls as aggregations
from .aliases import urls as aliases
from .blocked import urls as blocked
from .changes import urls as changes
from .dhcp import urls as dhcp
from .firewall import urls as firewall
from .forwards import urls as forwards
from .nat import urls as nat
from .pfconf import urls as pfconf
from .switches import urls as switches
from .topology import urls as topology
from .traffic import urls as traffic
from .wireguard import urls as wireguard

app_name = "network"
urlpatterns = [
    *addresses.urlpatterns,
    *aggregations.urlpatterns,
    *dhcp.urlpatterns,
    *changes.urlpatterns,
    *aliases.urlpatterns,
    *blocked.urlpatterns,
    *firewall.urlpatterns,
    *forwards.urlpatterns,
    *nat.urlpatterns,
    *pfconf.urlpatterns,
    *switches.urlpatterns,
    *topology.urlpatterns,
    *traffic.urlpatterns,
    *wireguard.urlpatterns,
]
