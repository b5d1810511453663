"""The only process that knows and dials VNC ports and serial sockets: websockify on a unix socket, without Django.

``python -m bhype.console.gateway --socket PATH --key-file PATH --root DIR``
"""
