"""The graph of a run as data (``steps``), and the engines that run it: local, Nipype, Pydra."""
