"""The stages as nodes of Nipype and tasks of Pydra."""
