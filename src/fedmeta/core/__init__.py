"""The mathematics of federated meta-learning: torch only, no files, no clocks."""
