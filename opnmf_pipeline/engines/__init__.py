"""Ways to run the stages: from settings to results."""
