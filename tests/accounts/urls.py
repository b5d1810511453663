"""Views for the tests of the middleware: a small project of their own."""

from __future__ import annotations

from django.http import HttpResponse
from django.urls import include, path
from ninja import NinjaAPI

from bhype.accounts.access import allow, public
from bhype.accounts.api_auth import Bearer, Session
from storage.models import Pool
from vms.models import VM

api = NinjaAPI(urls_namespace="test-api", auth=[Bearer(), Session()])


@api.get("/me")
def me(request):
    return {"user": request.user.username, "scope": request.user.scope}


@api.post("/me")
def change_me(request):
    return {"user": request.user.username}


@api.get("/open", auth=None)
def forgotten(request):
    return {}


def unmarked(request):
    return HttpResponse("leak")


@public()
def welcome(request):
    return HttpResponse("welcome")


@allow("self")
def mine(request):
    return HttpResponse(request.user.username)


@allow("users.manage", methods="GET POST")
def manage(request):
    return HttpResponse("managed")


@allow("vms.operate", VM, methods="POST")
def operate(request, vm):
    return HttpResponse(f"{type(vm).__name__} {vm.name}")


@allow("storage.view", Pool)
def pool(request, pool):
    return HttpResponse(pool.name)


urlpatterns = [
    path("unmarked/", unmarked),
    path("welcome/", welcome),
    path("mine/", mine),
    path("manage/", manage),
    path("vms/<str:vm>/operate/", operate),
    path("pools/<str:pool>/", pool),
    path("api/v1/", api.urls),
    path("", include("bhype.accounts.urls")),
]
