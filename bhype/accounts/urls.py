from __future__ import annotations

from django.urls import path

from . import views, views_admin

app_name = "accounts"
urlpatterns = [
    path("accounts/sign-in/", views.sign_in, name="sign_in"),
    path("accounts/sign-out/", views.sign_out, name="sign_out"),
    path("accounts/profile/", views.profile, name="profile"),
    path("accounts/profile/password/", views.password, name="password"),
    path("accounts/tokens/", views.token_add, name="token_add"),
    path("accounts/tokens/<int:token>/revoke/", views.token_revoke, name="token_revoke"),
    path("accounts/keys/", views.key_add, name="key_add"),
    path("accounts/keys/<int:ssh_key>/remove/", views.key_remove, name="key_remove"),
    path("accounts/sessions/<int:session>/end/", views.session_end, name="session_end"),
    path("accounts/users/", views_admin.users, name="users"),
    path("accounts/new-user/", views_admin.user_add, name="user_add"),
    path("accounts/invite/", views_admin.user_invite, name="user_invite"),
    path("accounts/users/<str:user>/", views_admin.user, name="user"),
    path("accounts/users/<str:user>/delete/", views_admin.user_delete, name="user_delete"),
    path("accounts/audit/", views_admin.audit, name="audit"),
    path("accounts/audit.csv", views_admin.audit_csv, name="audit_csv"),
    path("setup/<str:code>/", views.setup, name="setup"),
]
