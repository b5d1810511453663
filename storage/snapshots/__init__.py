"""Snapshots of a dataset and all below it as one: taking, looking into and destroying them."""
