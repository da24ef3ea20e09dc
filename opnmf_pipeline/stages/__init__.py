"""The stages of the pipeline: plain functions from files to files, one module each."""
