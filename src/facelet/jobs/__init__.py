"""Jobs: one frozen config and one function each; the command line and the Python library call the same function."""
