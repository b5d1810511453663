"""Pools and the disks that they are made of: plans, operations, what is observed, pages and the API."""
