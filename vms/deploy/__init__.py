"""Deploying VMs of templates, one or many, and giving a VM a new identity."""
