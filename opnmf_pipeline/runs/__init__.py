"""A run: its plan, the run itself, its output dataset, its report, and projections on it."""
