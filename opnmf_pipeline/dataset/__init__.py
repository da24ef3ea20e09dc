"""The output dataset: the names of its files, its folder, and its BIDS description."""
