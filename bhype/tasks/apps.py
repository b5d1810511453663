from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class TasksConfig(AppConfig):
    name = "bhype.tasks"

    def ready(self) -> None:
        from . import topics

        autodiscover_modules("operations")
        topics.register()
