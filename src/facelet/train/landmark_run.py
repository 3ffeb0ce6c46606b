"""A training run of the net of landmarks: options in, a model file with its card out."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import torch

from facelet.data.heldout import HELDOUT_NOTE
from facelet.data.transfer import TransferSet
from facelet.model import Card
from facelet.nets.landmark_net import LandmarkNet
from facelet.nets.size import count_macs, count_parameters
from facelet.train.export import export_onnx
from facelet.train.landmarks import LandmarkTask, held_distance
from facelet.train.loop import Tick, train
from facelet.train.measure import TEMPLATE, split_holdout
from facelet.train.options import CommonOptions, check_batch, check_training, run_identity
from facelet.train.run import MODEL_FILE, Run, count_steps, loop_config, own_folder

NET = "landmarks"

HOLDOUT = 0.02
"""Fraction of the crops that measure only."""


def train_landmarks(
    options: CommonOptions,
    transfer: TransferSet,
    *,
    command: str = "",
    on_tick: Callable[[Tick], None] | None = None,
) -> Run:
    """Trains `LandmarkNet` on moved crops of a transfer set.

    Args:
        options: their student is `NET`; recipe, its factors and warm start have no meaning here.
        command: recorded in the card as its recipe.

    Raises:
        FaceletError: anything that does not fit is refused before the first step.
    """
    cv2.setNumThreads(1)
    check_training(options)
    train_index, held = split_holdout(transfer.n_images, HOLDOUT, options.seed)
    check_batch(options, len(train_index))
    last: dict[str, float] = {}

    def tick(tick: Tick) -> None:
        last.update(tick.figures)
        if on_tick is not None:
            on_tick(tick)

    with own_folder(options):
        torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        start = LandmarkNet()
        net = train(
            LandmarkTask(start, transfer, train_index, batch_size=options.batch_size, seed=options.seed),
            loop_config(options, count_steps(options, len(train_index), options.batch_size)),
            options.out,
            identity=run_identity(options, [transfer.key]),
            resume=options.resume,
            watch=held_distance(start, transfer, held, options.seed),
            on_tick=tick,
        )
        seen = [*transfer.sources, *([HELDOUT_NOTE] if transfer.without_heldout else [])]
        card = Card(
            name=options.name or NET,
            height=LandmarkNet.input_size,
            width=LandmarkNet.input_size,
            template=TEMPLATE,
            embedding_size=LandmarkNet.outputs,
            normalized=False,
            parameters=count_parameters(net),
            macs=count_macs(net, LandmarkNet.input_size),
            data=", ".join(seen),
            recipe=command,
            output="landmarks",
        )
        export_onnx(net, card, options.out / MODEL_FILE)
    return Run(options.out / MODEL_FILE, last)
