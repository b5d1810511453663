"""What a program of bhype.outside tells of itself, in one line."""

IDENTITY = """
import json, os, resource
from bhype.outside import cage
cage.enter(seconds=5)
back = True
try:
    os.setuid(0)
except PermissionError:
    back = False
print(json.dumps({"uid": os.getuid(), "groups": os.getgroups(), "root": back,
                  "core": resource.getrlimit(resource.RLIMIT_CORE)[0]}))
""".strip()
