"""Kedro pipelines: thin nodes around the functions of the other packages."""
