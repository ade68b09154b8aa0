"""Neural networks as pure functions of their parameters."""
