"""Images to rows of a matrix, and back: one module per space, and what all spaces share."""
