"""Recommendation: the service that a user will use next, a client a user."""
