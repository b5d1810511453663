"""Addresses of the pages of rules."""

from __future__ import annotations

from django.urls import path

from . import views, views_apply

urlpatterns = [
    path("firewall/", views.index, name="firewall"),
    path("firewall/draft/", views.draft, name="draft"),
    path("firewall/apply/", views_apply.apply, name="rules_apply"),
    path("firewall/discard/", views_apply.discard, name="rules_discard"),
    path("firewall/history/", views_apply.history, name="rulesets"),
    path("firewall/history/<int:number>/", views_apply.ruleset, name="ruleset"),
    path("firewall/history/<int:number>/restore/", views_apply.restore, name="ruleset_restore"),
    path("firewall/test/", views_apply.test, name="packet_test"),
    path("firewall/rules/new/", views.create, name="rule_new"),
    path("firewall/rules/check/", views.check, name="rule_check"),
    path("firewall/rules/<int:rule>/", views.edit, name="rule_edit"),
    path("firewall/rules/<int:rule>/change/", views.change, name="rule_change"),
    path("switches/<str:switch>/rules/", views.switch_rules, name="switch_rules"),
    path("switches/<str:switch>/policy/", views.policy, name="switch_policy"),
]
