"""Give every switch that is there a UUID of its own."""

import uuid

from django.db import migrations, models


def fill(apps, _schema):
    switches = apps.get_model("network", "Switch")
    for pk in switches.objects.values_list("pk", flat=True):
        switches.objects.filter(pk=pk).update(uuid=uuid.uuid4())


class Migration(migrations.Migration):
    dependencies = [("network", "0001_initial")]

    operations = [
        migrations.AddField(
            "switch", "uuid", models.UUIDField(default=uuid.uuid4, editable=False, null=True)
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.AlterField(
            "switch", "uuid", models.UUIDField(default=uuid.uuid4, editable=False, unique=True)
        ),
    ]
