from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class TasksConfig(AppConfig):
    name = "bhype.tasks"

    def ready(self) -> None:
        from bhype.ui import search

        from . import finder, topics

        autodiscover_modules("operations")
        topics.register()
        search.register("Tasks", finder.find, place=3)
