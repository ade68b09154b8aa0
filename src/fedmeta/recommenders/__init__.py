"""Recommenders of the next service: alone, unified and meta-learned."""
