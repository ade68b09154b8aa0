"""Preparation: which clients and records take part, and in which role."""
