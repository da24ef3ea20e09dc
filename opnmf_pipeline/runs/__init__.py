"""What a run is: planned, run, published, reported, projected on."""
