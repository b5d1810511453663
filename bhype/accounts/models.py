"""Who may use the panel: users, their API tokens, and the log of what they did."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone

from .rights import OWNER_RIGHTS, ROLE_RIGHTS, SCOPE_RIGHTS


class UserManager(BaseUserManager["User"]):
    def create_user(self, username: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(username=username, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(username=username)


class User(AbstractBaseUser):
    """A person. ``source`` tells who checks the password: PAM of the host, or the panel itself."""

    class Role(models.TextChoices):
        NONE = "", "Own VMs only"
        VIEWER = "viewer", "Viewer"
        WATCHER = "watcher", "Watcher"
        OPERATOR = "operator", "Operator"
        ADMIN = "admin", "Admin"

    class Source(models.TextChoices):
        PAM = "pam", "System account"
        PANEL = "panel", "Panel account"

    username = models.CharField(max_length=64, unique=True)
    role = models.CharField(max_length=16, choices=Role, default=Role.NONE, blank=True)
    source = models.CharField(max_length=8, choices=Source, default=Source.PAM)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now)

    USERNAME_FIELD = "username"
    objects = UserManager()

    # Set on the instance of one request when an API token signed it in: the token's scope.
    scope: str | None = None

    class Meta:
        ordering = ["username"]

    def __str__(self) -> str:
        return self.username

    @property
    def only_looks(self) -> bool:
        """Whether a token of the scope "read" signed in: "self" is a right to see what is one's own, and no more."""
        return self.scope == "read"

    def can(self, right: str, owner_id: int | None = None) -> bool:
        """Whether this user holds ``right``: on everything by role, or on an object owned by ``owner_id``."""
        if not self.is_active or (self.scope is not None and right not in SCOPE_RIGHTS[self.scope]):
            return False
        return right in ROLE_RIGHTS[self.role] or (
            owner_id is not None and owner_id == self.pk and right in OWNER_RIGHTS
        )


def digest(secret: str) -> str:
    """SHA-256 in hex; enough for random secrets of 256 bits, which no dictionary holds."""
    return hashlib.sha256(secret.encode()).hexdigest()


class TokenQuerySet(models.QuerySet["ApiToken"]):
    def visible_to(self, user: User, right: str = "self") -> TokenQuerySet:
        """A user's own tokens. Nobody sees those of others, admins neither."""
        return self.filter(user=user) if user.can(right) else self.none()

    def issue(self, user: User, name: str, scope: str, expires_at: datetime | None) -> tuple[ApiToken, str]:
        """Make a token. Returns the row and the secret, which is shown once and never stored."""
        secret = "bhype_" + secrets.token_urlsafe(32)
        row = self.create(
            user=user, name=name, scope=scope, expires_at=expires_at, digest=digest(secret), hint=secret[-4:]
        )
        return row, secret

    def valid(self, secret: str) -> ApiToken | None:
        """The token with this secret, with its user, unless it is revoked, expired, or the user inactive."""
        row = self.select_related("user").filter(digest=digest(secret), user__is_active=True).first()
        return row if row is not None and row.is_valid else None


class ApiToken(models.Model):
    class Scope(models.TextChoices):
        READ = "read", "Read only"
        OPERATE = "operate", "Read, power and console"
        FULL = "full", "Everything the user may do"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=64)
    scope = models.CharField(max_length=16, choices=Scope, default=Scope.READ)
    digest = models.CharField(max_length=64, unique=True)
    hint = models.CharField(max_length=4)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    objects = TokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_valid(self) -> bool:
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > timezone.now())


class SshKeyQuerySet(models.QuerySet["SshKey"]):
    def visible_to(self, user: User, right: str = "self") -> SshKeyQuerySet:
        """A user's own keys."""
        return self.filter(user=user) if user.can(right) else self.none()


class SshKey(models.Model):
    """A public key of a person, for the guests that they make."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="ssh_keys")
    name = models.CharField(max_length=64)
    # One line of authorized_keys, as in sshd(8).
    text = models.TextField()
    fingerprint = models.CharField(max_length=64, help_text="SHA256:..., as ssh-keygen(1) shows it")
    created_at = models.DateTimeField(default=timezone.now)

    objects = SshKeyQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["user", "fingerprint"], name="ssh_key_once_per_user")]

    def __str__(self) -> str:
        return self.name


class AuditEntry(models.Model):
    """What was done, by whom, from where. Rows are added, never changed."""

    at = models.DateTimeField(default=timezone.now, db_index=True)
    username = models.CharField(max_length=64, blank=True)
    address = models.CharField(max_length=64, blank=True)
    action = models.CharField(max_length=64)
    object = models.CharField(max_length=128, blank=True)
    detail = models.JSONField(default=dict)
    task_id = models.BigIntegerField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.username} {self.action} {self.object}"


class SetupCode(models.Model):
    """The one-time code of the set-up link. Using it makes the first admin."""

    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(default=timezone.now)
    used_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"set-up code of {self.created_at:%Y-%m-%d %H:%M}"


class SignInQuerySet(models.QuerySet["SignIn"]):
    def visible_to(self, user: User, right: str = "self") -> SignInQuerySet:
        """A user's own sessions."""
        return self.filter(user=user) if user.can(right) else self.none()


class SignIn(models.Model):
    """An open browser session: whose it is and where it was opened. Goes when the session goes."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_ins")
    session_key = models.CharField(max_length=40, unique=True)
    address = models.CharField(max_length=64, blank=True)
    browser = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    objects = SignInQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.user} from {self.address}"


class Failures(models.Model):
    """How often signing in failed lately, per name and per address. Forgotten when it has been quiet."""

    # "user:alice", "address:192.0.2.7", "token:192.0.2.7"
    key = models.CharField(max_length=140, unique=True)
    count = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.key}: {self.count}"
