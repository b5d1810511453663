"""bHype's settings: one file, read from the environment, loud about bad values.

BHYPE_STATE   folder for the database, keys, sockets and the lab (.state beside manage.py; /var/db/bhype on FreeBSD)
BHYPE_ROOT    where FreeBSD's / is seen: "/" on FreeBSD, the lab's root elsewhere
BHYPE_PORT    port of the panel; BHYPE_BIND its address; BHYPE_HOSTS names it may be reached by, comma-separated
BHYPE_ALLOW   what VMs may have of this host beyond their datasets, nothing by default: words of "passthru" (reserved
              PCI devices, the TPM), "raw" (devices and options in bhyve's own words, scripts), and folders whose
              files they may use, comma-separated
BHYPE_POOLS   the pools that bHype may adopt, make and change, comma-separated; any where it is empty
BHYPE_FETCH_ALLOW  networks besides the public internet from which images may be fetched, comma-separated: 10.0.0.0/8
BHYPE_UPLOAD_GIB  GiB of uploaded files that one person may keep (512)
BHYPE_NO_PICTURES  no small pictures of screens in the list of VMs
BHYPE_PATIENCE  multiplies the time that the commands of tasks may take; more than 1 on a slow host
DATABASE_URL  postgres://..., else SQLite in BHYPE_STATE
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import sys
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
ON_FREEBSD = sys.platform.startswith("freebsd")


def _flag(name: str) -> bool:
    """A switch that is off unless the environment says yes."""
    value = os.environ.get(name, "").lower()
    if value in {"", "0", "no", "false", "1", "yes", "true"}:
        return value in {"1", "yes", "true"}
    raise ImproperlyConfigured(f"{name}={value!r}: say yes or no")


def _port(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdigit() or not 1 <= int(value) <= 65535:
        raise ImproperlyConfigured(f"{name}={value!r} is not a port number")
    return int(value)


def _factor(name: str, default: float, most: float = 100) -> float:
    try:
        value = float(os.environ.get(name, default))
    except ValueError:
        value = 0
    if not 0.01 <= value <= most:
        raise ImproperlyConfigured(f"{name}={os.environ.get(name)!r} is not a number from 0.01 to {most:g}")
    return value


def _words(name: str, default: str) -> list[str]:
    return [word.strip() for word in os.environ.get(name, default).split(",") if word.strip()]


def _networks(name: str) -> list[str]:
    try:
        return [str(ipaddress.ip_network(word)) for word in _words(name, "")]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={os.environ.get(name)!r}: {error}") from error


def _secret(path: Path) -> str:
    """The key of this installation, made on first use; every process of the panel reads the same file."""
    try:
        return path.read_text()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        except FileExistsError:
            return path.read_text()
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(50))
        return path.read_text()


DEBUG = _flag("BHYPE_DEBUG")
STATE_DIR = Path(
    os.environ.get("BHYPE_STATE") or ("/var/db/bhype" if ON_FREEBSD else BASE_DIR / ".state")
).resolve()
RUN_DIR = STATE_DIR / "run"
BHYPE_ROOT = os.environ.get("BHYPE_ROOT") or ("/" if ON_FREEBSD else str(STATE_DIR / "lab" / "root"))
# This host's name among the hosts of one installation; its worker takes the tasks of that name.
HOST_NAME = os.environ.get("BHYPE_HOST") or socket.gethostname().split(".")[0]
BIND = os.environ.get("BHYPE_BIND", "127.0.0.1")
PORT = _port("BHYPE_PORT", 8080)
# The unprivileged user that web and gateway run as when the panel is started by root.
SERVICE_USER = os.environ.get("BHYPE_USER", "bhype")
# Only members of one of these groups may sign in with their system password.
PAM_GROUPS = _words("BHYPE_GROUPS", "bhype-users,wheel,sudo")
PAM_SERVICE = "bhype"
CONSOLE_TICKET_SECONDS = 30
# VMs get ports for VNC from here on; another one where two panels share a machine.
VNC_FIRST_PORT = _port("BHYPE_VNC_PORT", 5900)
# Read by the worker of each host: the right vms.root is not enough where the host does not allow it.
ALLOW = _words("BHYPE_ALLOW", "")
# The pools that are bHype's to adopt and change, or none for any; read by the worker of each host.
POOLS = _words("BHYPE_POOLS", "")
# Where images may be fetched from besides the public internet; read by the worker of each host.
FETCH_ALLOW = _networks("BHYPE_FETCH_ALLOW")
# Bytes of uploaded files that one person may keep.
UPLOAD_QUOTA = int(_factor("BHYPE_UPLOAD_GIB", 512.0, 1_000_000.0) * 2**30)
# Whether the list of VMs shows small pictures of their screens.
CONSOLE_PICTURES = not _flag("BHYPE_NO_PICTURES")
COMMAND_PATIENCE = _factor("BHYPE_PATIENCE", 1.0)

SECRET_KEY = _secret(STATE_DIR / "secret.key")
ALLOWED_HOSTS = _words("BHYPE_HOSTS", f"localhost,127.0.0.1,[::1],{socket.gethostname()},{HOST_NAME}")

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "django_q",
    "ninja",
    "channels",
    "bhype.accounts",
    "bhype.live",
    "bhype.ui",
    "bhype.tasks",
    "bhype.hosts",
    "bhype.console",
    "network",
    "storage",
    "vms",
]

MIDDLEWARE = [
    # Before whitenoise: static files carry them, too.
    "bhype.ui.middleware.SecurityHeaders",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "bhype.accounts.middleware.DenyByDefault",
]

ROOT_URLCONF = "bhype.urls"
ASGI_APPLICATION = "bhype.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "bhype.ui.context.panel",
            ],
            "builtins": ["bhype.ui.templatetags.ui"],
        },
    }
]

DATABASE_URL = os.environ.get("DATABASE_URL") or f"sqlite:///{STATE_DIR / 'db' / 'bhype.sqlite3'}"
DATABASES = {"default": dj_database_url.parse(DATABASE_URL)}
_database = DATABASES["default"]
if _database["ENGINE"] == "django.db.backends.sqlite3":
    Path(str(_database["NAME"])).parent.mkdir(parents=True, exist_ok=True)
    # IMMEDIATE and WAL, or concurrent read-then-write transactions fail with "database is locked".
    _database["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
elif _flag("BHYPE_DB_POOL"):
    _database["OPTIONS"] = {"pool": True}
else:
    _database["CONN_MAX_AGE"] = 60
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["bhype.accounts.backends.PamBackend", "bhype.accounts.backends.PanelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "accounts:sign_in"
LOGIN_REDIRECT_URL = "vms:list"
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_NAME = "bhype_session"
CSRF_COOKIE_NAME = "bhype_csrf"
CSRF_FAILURE_VIEW = "bhype.ui.views.csrf_failure"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _flag("BHYPE_TLS")
if SESSION_COOKIE_SECURE:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static", ("novnc", BASE_DIR / "novnc")]
WHITENOISE_USE_FINDERS = True
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# The table of tasks is the queue (bhype.tasks.broker); django-q2 is the pool of processes that empties it.
Q_CLUSTER = {
    "name": HOST_NAME,
    "broker_class": "bhype.tasks.broker.TaskBroker",
    "workers": 4,
    "queue_limit": 1,
    "poll": 0.2,
    "timeout": 24 * 3600,
    "retry": 25 * 3600,
    "max_attempts": 1,
    "ack_failures": True,
    "save_limit": -1,
    "scheduler": False,
    "recycle": 500,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {"django-q": {"level": "WARNING"}, "django_q": {"level": "WARNING"}},
}
