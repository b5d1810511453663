"""The library: install media, images, and the catalogue that they are fetched from."""
