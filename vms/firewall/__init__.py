"""The rules and forwards of a VM, on its page."""
