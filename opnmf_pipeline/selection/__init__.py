"""How many components there are: measures and rules, on arrays and tables."""
