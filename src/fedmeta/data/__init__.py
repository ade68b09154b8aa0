"""Federated data: the packed file, its readers, client splits and partitions."""
