"""Backends whose clients are computed by other processes, on this machine or others."""
