"""The real cloud-init, unpacked and never installed: an installed one would run at this machine's next start."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from pathlib import Path

CACHE = Path(os.environ.get("BHYPE_CLOUD") or Path(__file__).resolve().parents[2] / ".state" / "cloud")
PYTHON = "/usr/bin/python3"
# Run by the system's Python, which has what cloud-init needs: checks the documents of one JSON list.
_CHECK = """
import json, logging, sys
from cloudinit.config import schema
from cloudinit import safeyaml
logging.disable(logging.CRITICAL)
known = schema.get_schema()
answers = []
for text in json.load(sys.stdin):
    try:
        schema.validate_cloudconfig_schema(safeyaml.load(text), known, strict=True, log_details=False)
        answers.append("" if text.startswith("#cloud-config\\n") else "no header")
    except schema.SchemaValidationError as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


def tree() -> Path:
    """Where the package lies unpacked, downloaded once."""
    target = CACHE / "cloud-init"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock-cloud-init").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            packages = CACHE / "packages"
            packages.mkdir(exist_ok=True)
            if not any(packages.glob("cloud-init_*.deb")):
                subprocess.run(
                    ["apt-get", "download", "-qq", "cloud-init"],
                    cwd=packages,
                    check=True,
                    capture_output=True,
                )
            package = max(packages.glob("cloud-init_*.deb"))
            subprocess.run(["dpkg-deb", "-x", package, target], check=True)
    return target


def _environment() -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(tree() / "usr/lib/python3/dist-packages"),
        "LC_ALL": "C.UTF-8",
    }


def complaints(documents: list[str]) -> list[str]:
    """What cloud-init's schema says of each user-data document; "" when it is valid."""
    done = subprocess.run(
        [PYTHON, "-c", _CHECK],
        input=json.dumps(documents),
        env=_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


def schema(path: Path) -> subprocess.CompletedProcess[str]:
    """What `cloud-init schema -c FILE` does."""
    program = tree() / "usr/bin/cloud-init"
    return subprocess.run(
        [PYTHON, program, "schema", "-c", path],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
