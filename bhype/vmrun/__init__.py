"""The supervisor of one VM, also a command: ``python -m bhype.vmrun``. No Django; small enough for one per VM.

It reads the configuration of vmrun, the seed of this room, and extends it: e1000, virtio-rnd, xhci, ``ro`` and
serial numbers of disks, taps that are made, described and put into a bridge ("fix", "bridge", "description",
"mtu"), "ignore_msr", "yield_on_pause", and "bhype" for the panel's own notes. Where it differs on purpose:

- the program is named by its absolute path, and a dry run prints to stdout also when something is missing;
- a VNC password goes into a private file (``-k``), not into the command line;
- memory takes every unit in either case and is decimal; cores and threads are not swapped; ``sectorsize`` is an
  option of its own; ``extra_options`` and the words behind ``--`` reach bhyve; nvme is told by ``-s``;
- a reboot leads to ``next_target`` once: a target that names none stays; ``-Y`` is added with a second bus;
- failures have exit status 1; a signal is a crash that is told; stale sockets are removed before the start;
- com4 and slot 0:31 can be used; volumes count as disks; a guest that only reboots is given up.
"""
