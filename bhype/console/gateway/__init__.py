"""websockify on a unix socket: the only process that dials VNC ports and serial sockets. No Django in it.

``python -m bhype.console.gateway --socket PATH --key-file PATH --root DIR``
"""
