"""Changes of the host that come back unless somebody confirms them: shown on every page, decided with one click."""
