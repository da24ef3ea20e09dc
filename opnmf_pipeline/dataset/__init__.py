"""The output dataset: the names of its files, its folder, and how it describes itself."""
