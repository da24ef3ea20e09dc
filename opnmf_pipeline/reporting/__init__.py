"""The report of a run: texts, tables and pictures of the results, and the page that shows them."""
