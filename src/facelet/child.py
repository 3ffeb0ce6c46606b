"""First program of every Python process that this package starts: `python -P child.py MODULE ARGUMENT...`.

It runs a module as `python -m` would, but finds this package beside itself, wherever the process that started it had
it from: installed, or on a path of its own.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def run() -> None:
    """Imports the package of this file, then runs the module that the command line names."""
    spec = spec_from_file_location("facelet", Path(__file__).with_name("__init__.py"))
    if spec is None or spec.loader is None:
        raise ImportError(f"{__file__}: the package beside it cannot be read; reinstall facelet")
    package = module_from_spec(spec)
    sys.modules["facelet"] = package
    spec.loader.exec_module(package)

    from facelet.processes import begin

    begin()
    import runpy

    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    run()
