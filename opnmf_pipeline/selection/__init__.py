"""The choice of the number of components: splits, measures and rules, on arrays and tables."""
