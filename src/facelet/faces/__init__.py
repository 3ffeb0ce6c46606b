"""Photos to aligned crops: read, detect, align; the only part that knows about photos."""

DEFAULT_DETECTOR = "dlib_refined"
"""Key in `detectors.DETECTORS` of what finds faces where nothing is said."""
