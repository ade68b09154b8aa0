"""Ingestion: raw files to packed records."""
