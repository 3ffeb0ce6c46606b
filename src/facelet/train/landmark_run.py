"""A training run of the net of landmarks: options in, a model file with its card out."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import torch

from facelet.data.transfer import TransferSet
from facelet.model import Card
from facelet.nets.landmark_net import LandmarkNet
from facelet.nets.size import count_macs, count_parameters
from facelet.train.export import export_onnx
from facelet.train.files import MODEL_FILE
from facelet.train.landmarks import LandmarkTask, held_distance
from facelet.train.loop import Tick
from facelet.train.measure import TEMPLATE, split_holdout
from facelet.train.options import LandmarkOptions, check_batch, check_training
from facelet.train.run import Run, count_steps, data_seen, own_folder, run_task

NET = "landmarks"

HOLDOUT = 0.02
"""Fraction of the crops that measure only."""


def train_landmarks(
    options: LandmarkOptions,
    transfer: TransferSet,
    *,
    command: str = "",
    on_tick: Callable[[Tick], None] | None = None,
) -> Run:
    """Trains `LandmarkNet` on displaced crops of a transfer set.

    Args:
        options: of the run.
        transfer: aligned crops; their labels are not used.
        command: recorded in the card as its recipe.

    Raises:
        FaceletError: anything that does not fit is refused before the first step.
    """
    cv2.setNumThreads(1)
    check_training(options)
    train_index, held = split_holdout(transfer.n_images, HOLDOUT, options.seed)
    check_batch(options, len(train_index))
    with own_folder(options):
        torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        start = LandmarkNet()
        task = LandmarkTask(start, transfer, train_index, batch_size=options.batch_size, seed=options.seed)
        steps = count_steps(options, len(train_index), options.batch_size)
        watch = held_distance(start, transfer, held, options.seed)
        net, last = run_task(options, task, transfer, steps, watch, on_tick, [])
        card = Card(
            name=NET,
            height=LandmarkNet.input_size,
            width=LandmarkNet.input_size,
            template=TEMPLATE,
            embedding_size=LandmarkNet.outputs,
            normalized=False,
            parameters=count_parameters(net),
            macs=count_macs(net, LandmarkNet.input_size),
            data=data_seen(options, transfer),
            recipe=command,
            output="landmarks",
        )
        export_onnx(net, card, options.out / MODEL_FILE)
    return Run(options.out / MODEL_FILE, last)
