"""Evaluation: test clients before and after adaptation."""
