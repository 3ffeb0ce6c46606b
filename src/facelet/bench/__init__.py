"""Side-by-side speed: our engine and the runtimes that people use, same network, same threads, one run."""
