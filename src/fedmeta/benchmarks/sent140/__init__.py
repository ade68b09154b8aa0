"""Sent140: the sentiment of tweets, a client a user."""
