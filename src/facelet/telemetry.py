"""Switches off what other packages send to their vendors; the package itself sends nothing.

`import facelet` does this first, so it holds for Python programs, for the command line and for every process that
this package starts. It must happen before the packages are imported: both write files and ask the network then.
"""

from __future__ import annotations

import os
import sys

ENVIRONMENT = {"ORT_DISABLE_TELEMETRY": "1"}
"""Set whatever the caller had there: onnxruntime 1.29 and newer writes an id of the machine and a store of events
below the home folder, and sends them. Its function `disable_telemetry_events` leaves the files."""

BLOCKED = ("openvino_telemetry",)
"""Packages that cannot be imported afterwards. OpenVINO sends an event when it is imported unless this one is missing;
it has a stub of its own for that case, while its opt-out is a file in the home folder."""


def switch_off() -> None:
    """Sets the variables of `ENVIRONMENT`, and blocks the packages of `BLOCKED` that are not imported yet."""
    os.environ.update(ENVIRONMENT)
    for name in BLOCKED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
