"""A state folder and a database for processes outside of pytest, on the server that the tests run on."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from urllib.parse import urlsplit, urlunsplit


@contextlib.contextmanager
def own_database():
    """Yields the environment of such processes."""
    # Short, for the sockets in it.
    state = tempfile.mkdtemp(prefix="bhc-", dir="/tmp")
    environment = {**os.environ, "BHYPE_STATE": state, "BHYPE_HOST": "lab"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    url = environment.get("DATABASE_URL", "")
    name = f"bhype_{os.path.basename(state).lower().replace('-', '_')}"
    on_postgresql = url.startswith("postgres")
    try:
        if on_postgresql:
            _sql(url, f"CREATE DATABASE {name}")
            environment["DATABASE_URL"] = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
        yield environment
    finally:
        shutil.rmtree(state, ignore_errors=True)
        if on_postgresql:
            _sql(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def _sql(url, statement):
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
