"""NIfTI images to rows of a matrix, and back."""
