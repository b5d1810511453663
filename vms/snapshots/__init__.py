"""Snapshots of whole VMs, and going back to them."""
