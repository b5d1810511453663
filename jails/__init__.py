"""Jails: the room is kept; their models arrive with their own issue."""
