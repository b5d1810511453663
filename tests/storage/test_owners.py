"""Who says that a dataset is theirs."""

from __future__ import annotations

from storage import owners
from storage.models import Image
from vms.models import Tag, Template


def test_a_vm_tells_of_its_datasets_and_tags(vm):
    vm.tags.add(Tag.objects.create(name="web"))
    (owner,) = owners.find([str(vm.uuid), "bhype", "", "no-uuid"])
    assert (owner.kind, owner.name, owner.url, owner.label) == ("vm", "web1", "/vms/web1/", "virtual machine")
    assert owner.datasets == ("tank/bhype/vms/web1", "tank/bhype/vms/web1/disk0")
    assert (owner.tags, owner.is_on, owner.person) == (("web",), False, vm.owner_id)


def test_all_kinds_are_found_in_a_constant_number_of_queries(vm, pool, django_assert_max_num_queries):
    image = Image.objects.create(pool=pool, name="debian12")
    template = Template.objects.create(host=pool.host, pool=pool, name="web", disks=[{"size": 1}])
    with django_assert_max_num_queries(6):
        found = owners.by_uuid()
    assert {owner.name for owner in found.values()} == {"web1", "debian12", "web v1"}
    assert found[str(template.uuid)].datasets == (template.dataset, f"{template.dataset}/disk0")
    assert owners.of(str(image.uuid)).dataset == "tank/bhype/images/debian12"
    assert [owner.kind for owner in owners.find(kind="template")] == ["template"]


def test_a_word_that_is_no_uuid_is_nobodys(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert owners.find(["bhype", "", "dataset", "g" * 36]) == []
