"""Words, tables and pictures about results, and the page that shows them."""
