from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from network.traffic.observe import Rates, write
from vms.guests import port_key


def sample(nic) -> None:
    at = timezone.now() - timedelta(seconds=20)
    write(nic.vm.host, [Rates(port_key(nic), at, 10, 500_000, 1_000_000, 9, 9, 0)])


def test_the_owner_sees_the_traffic_of_his_vm_with_its_limits(as_user, alice, stranger, vm):
    nic = vm.nics.get()
    nic.options = {"rate_in": "10M", "link": "down"}
    nic.save()
    sample(nic)
    text = as_user(alice).get("/vms/web1/traffic/").content.decode()
    assert "8.0 Mbit/s" in text and "Limit of received" in text and "10.0 Mbit/s" in text
    assert 'class="chart-limit chart-1"' in text and "Its cable is unplugged" in text
    assert as_user(stranger).get("/vms/web1/traffic/").status_code == 404


def test_a_vm_without_ports_is_told_what_to_do(as_user, alice, vm):
    vm.nics.all().delete()
    assert "No network port" in as_user(alice).get("/vms/web1/traffic/").content.decode()


def test_the_api_gives_the_owner_the_samples(as_user, alice, stranger, vm):
    sample(vm.nics.get())
    (found,) = as_user(alice).get("/api/v1/vms/web1/traffic").json()
    assert found["port"] == port_key(vm.nics.get()) and found["samples"][0]["octets_in"] == 500_000
    assert as_user(stranger).get("/api/v1/vms/web1/traffic").status_code == 404
