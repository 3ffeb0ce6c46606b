"""Photos to aligned crops: read, detect, align; the only part that knows about photos."""
