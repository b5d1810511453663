"""What a guest is told at its first boot: the documents of a NoCloud seed and the ISO that carries them.

Pure: text in, bytes out. cloud-init (Linux) and nuageinit (FreeBSD 14.1 and later) read the same seed, but not the
same words; `documents` writes for the one that is there.
"""

from __future__ import annotations

from .answers import HOWTO, Answers, answers, answers_template, check_answers
from .documents import Documents, Port, applied_text, documents, host_name, without_secrets
from .image import iso
from .passwords import hash_password, is_hash
from .settings import Invalid, Problem, Settings, Snippet, parse
from .sshkeys import BadKey, PublicKey, public_key
from .userdata import check

LABEL = "cidata"

__all__ = [
    "HOWTO",
    "LABEL",
    "Answers",
    "BadKey",
    "Documents",
    "Invalid",
    "Port",
    "Problem",
    "PublicKey",
    "Settings",
    "Snippet",
    "answers",
    "answers_template",
    "applied_text",
    "check",
    "check_answers",
    "documents",
    "hash_password",
    "host_name",
    "is_hash",
    "iso",
    "parse",
    "public_key",
    "without_secrets",
]
