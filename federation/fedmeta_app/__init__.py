"""The Flower app of FedMeta."""
