"""The tasks with what their pages stand on, without the rooms above."""

from __future__ import annotations

from django.urls import include, path
from ninja import NinjaAPI

from bhype.accounts.api_auth import Bearer, Session
from bhype.tasks.api import router
from bhype.tasks.errors import Refused

api = NinjaAPI(auth=[Bearer(), Session()], urls_namespace="tasks-test")
api.add_router("/tasks", router)


@api.exception_handler(Refused)
def _refused(request, error):
    return api.create_response(request, {"code": error.code, "message": error.message}, status=error.status)


urlpatterns = [
    path("", include("bhype.ui.urls")),
    path("", include("bhype.accounts.urls")),
    path("tasks/", include("bhype.tasks.urls")),
    path("api/v1/", api.urls),
]
