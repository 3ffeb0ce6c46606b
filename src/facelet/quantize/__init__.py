"""Float network to int8: prepare, equalise, choose fractions, build, report."""
