from __future__ import annotations

from django.apps import AppConfig


class NetworkConfig(AppConfig):
    name = "network"

    def ready(self) -> None:
        from bhype import live
        from bhype.hosts import checklist, observer
        from bhype.ui import search

        from .addresses import finder as addresses_finder
        from .addresses import observe as addresses
        from .blocked import observe as blocked
        from .changes import kinds
        from .changes import observe as changes
        from .dhcp import observe as dhcp
        from .firewall import finder as firewall_finder
        from .firewall import observe as firewall
        from .nat import operations as nat
        from .nat import pages as nat_pages
        from .pfconf import observe as pfconf
        from .switches import interfaces, observe, pages
        from .traffic import observe as traffic
        from .wireguard import observe as wireguard

        observer.register(changes.observe, "changes")
        observer.register(interfaces.observe, "interfaces")
        observer.register(observe.observe, "switches")
        observer.register(addresses.observe, "addresses")
        observer.register(dhcp.observe, "dhcp")
        new_rules = "New rules of the firewall"
        kinds.register(
            kinds.Kind(
                "firewall", new_rules, "network.confirm_rules", "network.revert_rules", "network:firewall"
            )
        )
        kinds.register(kinds.Kind(nat.CHANGE, "pf is switched on"))
        kinds.register(kinds.Kind("host-address", "The host's addresses on another interface"))
        kinds.register(kinds.Kind("pf-conf", "The changed pf.conf", url_name="network:pf_conf"))
        observer.register(firewall.observe, "firewall", slow=True)
        observer.register(pfconf.observe, "pf.conf", slow=True)
        observer.register(blocked.observe, "logged packets", slow=True)
        observer.on_boot(firewall.on_boot)
        observer.register(wireguard.observe, "wireguard", slow=True)
        observer.register(traffic.observe, "traffic", slow=True)
        checklist.register(observe.checklist)
        checklist.register(dhcp.checklist)
        checklist.register(nat_pages.checklist)
        words = ("switch", "switches", "network", "changes", "change", "leases", "ruleset")
        for prefix in (*words, "aliases", "blocked"):
            live.register(prefix, lambda user, _topic: bool(user.can("network.view")))
        # Says only that somebody has another address; the pages of guests, which are not everybody's, ask then.
        live.register("addresses", lambda user, topic: topic == "addresses" and bool(user.can("self")))
        for prefix in ("firewall", "firewall-counters"):
            live.register(prefix, lambda user, topic: ":" not in topic and bool(user.can("self")))
        live.register("traffic", lambda user, topic: topic == "traffic" and bool(user.can("self")))
        for prefix in ("mesh", "meshes"):
            live.register(prefix, lambda user, _topic: bool(user.can("network.view")))
        search.register("Addresses", addresses_finder.find)
        search.register("Switches", pages.find)
        search.register("Rules and forwards", firewall_finder.find)
        search.register("Aliases", firewall_finder.find_aliases)
