"""The API of traffic."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from django.http import HttpRequest
from ninja import Query, Router, Schema

from bhype.accounts.access import lookup, signed_in
from network.models import Switch

from . import pages, ports
from .spans import Rates

router = Router()


class TrafficSampleOut(Schema):
    """Means over ``seconds`` from ``at`` on, per second; octets are bytes. In and out are the host's view: what a
    port of a guest has in, the guest has sent."""

    at: datetime
    seconds: int
    octets_in: float
    octets_out: float
    packets_in: float
    packets_out: float
    drops: float


class TrafficOut(Schema):
    """port: a guest's, such as "nic:12", or "switch:UUID", "uplink:em0" or "mesh:NAME"."""

    port: str
    samples: list[TrafficSampleOut]


class TrafficRangeIn(Schema):
    range: Literal["hour", "day", "month"] = "hour"


def out(host_id: int, names: Iterable[str], wanted: str) -> list[dict[str, str | list[Rates]]]:
    """The samples of ports as TrafficOut."""
    found = pages.samples(host_id, names, wanted)
    return [{"port": port, "samples": rows} for port, rows in found.items()]


@router.get("/switches/{name}/traffic", response=list[TrafficOut], summary="What went through a switch")
def switch_traffic(
    request: HttpRequest, name: str, query: Query[TrafficRangeIn]
) -> list[dict[str, str | list[Rates]]]:
    """The switch itself, its uplink and the ports of its guests."""
    switch = lookup(signed_in(request), Switch, "network.view", name=name)
    return out(
        switch.host_id,
        [one.port for one in ports.of_switch(switch)] + [port.key for _, port in ports.of_guests(switch)],
        query.range,
    )
