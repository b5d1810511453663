"""Addresses on switches: pools, who has been given which, and who was seen with which."""
