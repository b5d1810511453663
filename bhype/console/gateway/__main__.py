"""Start the gateway. See the package."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
from pathlib import Path

# websockify takes numpy for unmasking, which is done differently here: 10 MiB saved, and no warning.
sys.modules["numpy"] = None  # type: ignore[assignment]
logging.captureWarnings(True)  # noqa: FBT003
logging.getLogger("py.warnings").setLevel(logging.CRITICAL)

from bhype.console.signing import BadNote, read_key  # noqa: E402

from .proxy import Gateway, NoteBook  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bhype.console.gateway", description="websockify for bHype's consoles"
    )
    parser.add_argument("--socket", type=Path, required=True, help="unix socket to listen on (0600)")
    parser.add_argument("--key-file", type=Path, required=True, help="key shared with the web process")
    parser.add_argument("--root", default="/", help="where FreeBSD's / is seen")
    parser.add_argument("--recordings", type=Path, help="folder of recorded sessions (beside the key file)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("websocket").setLevel(logging.WARNING)
    # Each console inherits the note book and the key by fork.
    multiprocessing.set_start_method("fork")
    try:
        book = NoteBook(
            read_key(arguments.key_file), arguments.root, arguments.socket.parent / "gateway.notes"
        )
    except (OSError, BadNote) as error:
        logging.getLogger("bhype.gateway").error("%s", error)
        return 1
    recordings = arguments.recordings or arguments.key_file.parent / "recordings"
    try:
        recordings.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        logging.getLogger("bhype.gateway").warning("sessions will not be recorded: %s", error)
    Gateway(arguments.socket, book, recordings).start_server()
    return 0


if __name__ == "__main__":
    sys.exit(main())
