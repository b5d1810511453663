from __future__ import annotations

from django.urls import path

from . import views, views_log, views_recordings

app_name = "console"
urlpatterns = [
    path("console/<slug:what>/<str:name>/", views.page, name="page"),
    path("console/<slug:what>/<str:name>/ticket/", views.ticket, name="ticket"),
    path("console/<slug:what>/<str:name>/state/", views.state, name="state"),
    path("console/<slug:what>/<str:name>/picture.png", views.picture, name="picture"),
    path("console/<slug:what>/<str:name>/log/", views_log.page, name="log"),
    path("console/<slug:what>/<str:name>/log/text/", views_log.text, name="log-text"),
    path("console/<slug:what>/<str:name>/log/download/", views_log.download, name="log-download"),
    path("console/<slug:what>/<str:name>/recordings/", views_recordings.page, name="recordings"),
    path("console/<slug:what>/<str:name>/recordings/<int:pk>/", views_recordings.player, name="recording"),
    path(
        "console/<slug:what>/<str:name>/recordings/<int:pk>/file/",
        views_recordings.file,
        name="recording-file",
    ),
    path(
        "console/<slug:what>/<str:name>/recordings/<int:pk>/delete/",
        views_recordings.delete,
        name="recording-delete",
    ),
]
