"""Datasets: whose they are, what is made and destroyed of them, and the keys of encrypted ones."""
