"""Experiments as commands: a file each, results as JSON, pages rebuilt from them. `STUDIES` names them."""

from __future__ import annotations

from facelet.studies.alignment import ALIGNMENT
from facelet.studies.channels import CHANNELS
from facelet.studies.compatibility import COMPATIBILITY
from facelet.studies.degraded import DEGRADED
from facelet.studies.losses import LOSSES
from facelet.studies.progressive import PROGRESSIVE
from facelet.studies.pruning import PRUNING
from facelet.studies.seen import SEEN
from facelet.studies.size import SIZE
from facelet.studies.study import Study
from facelet.studies.teachers import TEACHERS
from facelet.studies.transfer_size import TRANSFER_SIZE
from facelet.studies.tune import TUNE

STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        ALIGNMENT,
        CHANNELS,
        COMPATIBILITY,
        DEGRADED,
        LOSSES,
        PROGRESSIVE,
        PRUNING,
        SEEN,
        SIZE,
        TEACHERS,
        TRANSFER_SIZE,
        TUNE,
    )
}
