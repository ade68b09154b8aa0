"""Rounds of a federation on Flower: the server's side, and what runs on a node."""
