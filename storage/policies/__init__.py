"""Policies: of what snapshots are taken, when, and which go again."""
