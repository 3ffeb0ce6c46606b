"""The job `demo`: samples faces, distils a student and compares it with its teacher and the shipped models."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from facelet.config import check_config
from facelet.events import SILENT, Events
from facelet.jobs.data_folder import data_folder
from facelet.jobs.demo_config import RunDemo

if TYPE_CHECKING:
    from facelet.jobs.demo_run import Demo


def demo(config: RunDemo, *, on: Events = SILENT) -> Demo:
    """Distils a student on synthetic faces, compares it and writes a report: five minutes.

    Args:
        config: of the demo.
        on: receives progress.

    Returns:
        The table of models, and where the report is.

    Raises:
        MissingExtraError: the extra `train` is not installed.
        MissingFileError: the teacher's file or LFW is not there.
        InputError: something else lies in the folder, or another demo runs there.
        FaceletError: whatever sampling, training or measuring refuses.
    """
    from facelet.benchmark import check_request
    from facelet.jobs.demo_run import run_demo

    check_config(config)
    data = data_folder(config.data)
    if data is not None:
        check_request("lfw", data, config.lfw_view)
    threads = min(2, os.cpu_count() or 1) if config.threads is None else config.threads
    return run_demo(replace(config, data=data, threads=threads), on)
