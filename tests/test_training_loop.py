"""Training end to end on a small net: it learns, and a run killed at any step resumes to the same weights."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facelet.data.embedding_cache import EmbeddingCache, fill_cache
from facelet.data.views import RECIPES, ViewRecipe
from facelet.errors import CheckpointError, DivergedError, FaceletError, InputError
from facelet.lock import take
from facelet.train.distill import DistillTask, Hint
from facelet.train.files import CHECKPOINT, LOCK, OPTIONS_FILE
from facelet.train.loop import HISTORY, LoopConfig, train
from facelet.train.measure import clean_pixels, embed_pixels, held_cosine
from facelet.train.online import graphed_net
from facelet.train.options import DistillOptions, run_identity
from facelet.train.run import distill
from facelet.train.targets import fit_target
from facelet.train.triplet import TripletTask
from tiny_models import photo_model
from tiny_training import SIZE, TinyNet, TinyTeacher, tiny_net, tiny_set

RECIPE = RECIPES["standard"]


def distill_task(
    folder: Path,
    *,
    hints: bool = False,
    views: int = 1,
    net: TinyNet | None = None,
    recipe: ViewRecipe = RECIPE,
    seed: int = 0,
    **loss: Any,
) -> DistillTask:
    transfer, teacher = tiny_set(), TinyTeacher()
    cache = fill_cache(teacher, transfer, recipe, 0, views, folder / "cache")
    return DistillTask(
        net or tiny_net(),
        transfer,
        [cache if hints else EmbeddingCache(cache.embeddings, ())],
        index=np.arange(transfer.n_images),
        target=fit_target([np.asarray(cache.embeddings[0])], "concatenate", 8),
        recipe=recipe,
        seed=seed,
        view_seed=0,
        batch_size=16,
        matrix=teacher.matrix,
        size=SIZE,
        consistent=views > 0,
        hints=(Hint("second", 0),) if hints else (),
        **loss,
    )


def config(steps: int, **options: object) -> LoopConfig:
    values = {"learning_rate": 5e-3, "threads": 1, "checkpoint_every": 7, "log_every": 5, **options}
    return LoopConfig(steps=steps, **values)  # type: ignore[arg-type]


def figures(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]


@pytest.mark.parametrize(("hints", "views"), [(False, 1), (False, 0), (True, 1)])
def test_distillation_learns(tmp_path: Path, hints: bool, views: int) -> None:
    train(distill_task(tmp_path, hints=hints, views=views), config(80, ema=0.9), tmp_path / "run", identity="a")
    rows = figures(tmp_path / "run")
    assert rows[-1]["cosine"] > 0.8 > 0.6 > rows[0]["cosine"]
    assert ("hint_second" in rows[0]) is hints
    assert "hint_second" not in rows[-1], "hints have faded out by the end"


def test_consistent_targets_are_the_teachers_answers_for_the_pixels_of_the_batch(tmp_path: Path) -> None:
    task = distill_task(tmp_path, views=2)
    batch = task.batch(9)
    vectors, _ = TinyTeacher().run(batch.pixels.numpy())
    expected = task.target([vectors.astype(np.float16)])
    np.testing.assert_allclose(batch.target.numpy(), expected, atol=2e-3)


def test_a_batch_depends_on_its_step_alone(tmp_path: Path) -> None:
    task = distill_task(tmp_path)
    late = task.batch(11)
    task.batch(3)
    again = distill_task(tmp_path).batch(11)
    assert torch.equal(late.pixels, again.pixels)
    assert torch.equal(late.target, again.target)


def test_another_seed_takes_other_crops_of_the_same_views(tmp_path: Path) -> None:
    batches = [distill_task(tmp_path, seed=seed).batch(0) for seed in (0, 1)]
    assert not torch.equal(batches[0].crop, batches[1].crop)
    rows = [{int(c): row for row, c in enumerate(batch.crop)} for batch in batches]
    both = sorted(set(rows[0]) & set(rows[1]))
    assert both
    for crop in both:
        mine, theirs = rows[0][crop], rows[1][crop]
        assert torch.equal(batches[0].pixels[mine], batches[1].pixels[theirs])
        assert torch.equal(batches[0].target[mine], batches[1].target[theirs])


def test_triplet_training_separates_people(tmp_path: Path) -> None:
    transfer = tiny_set()
    net = tiny_net()
    task = TripletTask(
        net,
        transfer,
        transfer.labelled(2),
        people=6,
        photos=4,
        margin=0.5,
        recipe=RECIPE,
        seed=0,
        matrix=TinyTeacher.matrix,
        size=SIZE,
    )
    train(task, config(60, optimizer="adamw"), tmp_path / "run", identity="t")
    rows = figures(tmp_path / "run")
    assert rows[-1]["triplets"] < 0.5 * rows[0]["triplets"]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_stopped_and_resumed_ends_in_the_same_weights(tmp_path: Path, optimizer: str) -> None:
    options = {"optimizer": optimizer, "ema": 0.9}
    whole = train(distill_task(tmp_path, hints=True), config(24, **options), tmp_path / "whole", identity="a")

    class StoppedError(Exception):
        pass

    def stop(tick: object) -> None:
        if tick.step == 15:  # type: ignore[attr-defined]
            raise StoppedError

    with pytest.raises(StoppedError):
        train(distill_task(tmp_path, hints=True), config(24, **options), tmp_path / "cut", identity="a", on_tick=stop)
    task = distill_task(tmp_path, hints=True, net=tiny_net(seed=99))
    resumed = train(task, config(24, **options), tmp_path / "cut", identity="a", resume=True)
    for (name, mine), theirs in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    losses = [row["loss"] for row in figures(tmp_path / "whole") if "loss" in row]
    assert losses == [row["loss"] for row in figures(tmp_path / "cut") if "loss" in row]


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training_loop import config, distill_task
from facelet.train.loop import train
folder = Path({folder!r})
train(distill_task(folder), config(70), folder / "cut", identity="a", resume={resume},
      on_tick=lambda tick: print(tick.step, flush=True))
"""


def test_sigkill_at_a_random_step_loses_nothing(tmp_path: Path) -> None:
    whole = train(distill_task(tmp_path), config(70), tmp_path / "whole", identity="a")
    program = {"tests": str(Path(__file__).parent), "folder": str(tmp_path)}
    first = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(**program, resume=False)], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    kill_at = 10 + int.from_bytes(os.urandom(1)) % 40
    for line in first.stdout:
        if int(line) >= kill_at:
            break
    time.sleep(int.from_bytes(os.urandom(1)) / 5000)
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    subprocess.run([sys.executable, "-c", KILLED.format(**program, resume=True)], check=True, capture_output=True)
    final = torch.load(tmp_path / "cut" / "checkpoint.pt", weights_only=True)
    assert final["step"] == 70
    for name, value in whole.state_dict().items():
        assert torch.equal(final["modules"][f"student.{name}"], value), name


def test_resume_refuses_nothing_or_another_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        train(distill_task(tmp_path), config(5), tmp_path / "run", identity="a", resume=True)
    train(distill_task(tmp_path), config(5), tmp_path / "run", identity="a")
    with pytest.raises(CheckpointError, match="another run"):
        train(distill_task(tmp_path), config(5), tmp_path / "run", identity="b", resume=True)
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        train(distill_task(tmp_path), config(5), tmp_path / "run", identity="a", resume=True)


def test_hints_name_what_is_missing(tmp_path: Path) -> None:
    task = distill_task(tmp_path)
    with pytest.raises(InputError, match="no layer 'third'"):
        DistillTask(
            tiny_net(),
            task.transfer,
            task.caches,
            index=task.index,
            target=task.target,
            recipe=RECIPE,
            seed=0,
            batch_size=4,
            matrix=task.matrix,
            size=SIZE,
            consistent=True,
            hints=(Hint("third", 0),),
        )


def test_rate_rises_then_falls_to_zero() -> None:
    schedule = config(100, warmup=0.1, learning_rate=1.0)
    assert schedule.rate(0) == pytest.approx(0.1)
    assert schedule.rate(9) == pytest.approx(1.0)
    assert schedule.rate(55) == pytest.approx(0.5)  # half way down the cosine
    assert schedule.rate(99) == pytest.approx(0.0, abs=1e-3)
    straight = config(100, warmup=0.2, learning_rate=1.0, schedule="linear")
    assert straight.rate(19) == pytest.approx(1.0)
    assert straight.rate(40) == pytest.approx(0.75)  # a quarter of the 80 steps after the warm-up
    assert straight.rate(99) == pytest.approx(0.0125)


def test_what_ends_a_run_early_leaves_no_thread_behind(tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(_tick: object) -> None:
        raise StoppedError

    with pytest.raises(StoppedError) as held:  # the traceback keeps the loop's frames alive
        train(distill_task(tmp_path), config(1000), tmp_path / "run", identity="a", on_tick=stop)
    assert held.value is not None
    assert "batches" not in {thread.name for thread in threading.enumerate()}
    assert [row["step"] for row in figures(tmp_path / "run")] == [5]


def test_what_the_weights_depend_on_names_a_run_and_nothing_else_does() -> None:
    options = DistillOptions(student="facelet_xs", out=Path("x"))
    other = [{"warmup": 0.1}, {"schedule": "linear"}, {"geometry": 0.5}, {"degrade": 0.1}, {"seed": 1}, {"views": 1}]
    same = [{"out": Path("y")}, {"resume": True}, {"name": "n"}, {"threads": 1}, {"checkpoint_every": 7}]
    assert len({run_identity(dataclasses.replace(options, **each), []) for each in [{}, *other]}) == 1 + len(other)  # type: ignore[arg-type]
    assert len({run_identity(dataclasses.replace(options, **each), []) for each in [{}, *same]}) == 1  # type: ignore[arg-type]


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_kept(tmp_path: Path) -> None:
    net = tiny_net()
    task = distill_task(tmp_path, net=net)
    train(task, config(7), tmp_path / "run", identity="a")
    kept = (tmp_path / "run" / CHECKPOINT).read_bytes()
    with torch.no_grad():
        net.dense.weight[0, 0] = float("nan")
    with pytest.raises(DivergedError, match="step 5: the loss is nan; train anew with a lower `learning_rate`"):
        train(task, config(20), tmp_path / "run", identity="a")
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == kept
    assert "NaN" not in (tmp_path / "run" / HISTORY).read_text()


def test_the_log_holds_each_validation_once(tmp_path: Path) -> None:
    told = iter(range(9))
    task = distill_task(tmp_path)
    train(task, config(20, watch_every=8), tmp_path / "run", identity="a", watch=lambda _net: {"seen": next(told)})
    assert [(row["step"], row["seen"]) for row in figures(tmp_path / "run") if "seen" in row] == [
        (8, 0),
        (16, 1),
        (20, 2),
    ]


def test_a_line_of_the_log_that_was_cut_off_does_not_stop_a_resumption(tmp_path: Path) -> None:
    train(distill_task(tmp_path), config(14), tmp_path / "run", identity="a")
    with (tmp_path / "run" / HISTORY).open("a") as log:
        log.write('{"step": 14, "lo')
    train(distill_task(tmp_path), config(21), tmp_path / "run", identity="a", resume=True)
    assert [row["step"] for row in figures(tmp_path / "run")] == [5, 10, 14, 15, 20, 21]


def test_a_run_that_is_resumed_after_its_end_logs_what_its_log_lacks(tmp_path: Path) -> None:
    told, log = iter(range(9)), tmp_path / "run" / HISTORY

    def go_on(resume: bool) -> list[str]:
        task = distill_task(tmp_path)
        train(task, config(7), log.parent, identity="a", resume=resume, watch=lambda _net: {"seen": next(told)})
        return log.read_text().splitlines()

    whole = go_on(resume=False)
    assert json.loads(whole[-1]) == {"step": 7, "seen": 0}
    assert go_on(resume=True) == whole
    log.write_text("".join(f"{line}\n" for line in whole[:-1]))  # as if it had been killed before its last line
    assert go_on(resume=True) == [*whole[:-1], json.dumps({"step": 7, "seen": 2})]


STUDENT = "facelet_xs@width=0.25,depth=0.25,resolution=48,embedding=16"


@pytest.fixture
def small_run(tmp_path: Path) -> DistillOptions:
    """Options of a whole run of seconds."""
    teacher = str(photo_model(tmp_path / "teacher.onnx"))
    return DistillOptions(
        student=STUDENT, out=tmp_path / "run", teachers=(teacher,), epochs=0.5, batch_size=16, threads=1
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_folder_where_a_process_trains_is_refused_to_others(small_run: DistillOptions, workers: int) -> None:
    small_run = dataclasses.replace(small_run, workers=workers)
    said: list[str] = []

    def tick(_tick: object) -> None:
        for resume in (False, True):
            with pytest.raises(FaceletError) as refused:
                distill(dataclasses.replace(small_run, loss="huber", resume=resume), tiny_set())
            said.append(str(refused.value))

    distill(small_run, tiny_set(), on_tick=tick)
    # told before and after the checkpoint is written
    expected = f"{small_run.out}: another process trains there; wait for it or give another --out"
    assert (said[0], said[3]) == (expected, expected)
    told = json.loads((small_run.out / OPTIONS_FILE).read_text())
    assert (told["loss"], "resume" in told) == ("mse", False)
    held = take(small_run.out / LOCK)
    assert held is not None, "a run that has ended holds nothing"
    held.close()


def test_a_run_that_ended_while_another_was_about_to_begin_is_kept(
    small_run: DistillOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(path: Path) -> Any:
        small_run.out.mkdir()
        (small_run.out / CHECKPOINT).write_text("of the other")
        return take(path)

    monkeypatch.setattr("facelet.lock.take", ended)
    with pytest.raises(CheckpointError, match="holds a run already"):
        distill(small_run, tiny_set())
    assert (small_run.out / CHECKPOINT).read_text() == "of the other"


def test_a_refused_resumption_leaves_the_record_of_the_run(small_run: DistillOptions) -> None:
    distill(small_run, tiny_set())
    record = (small_run.out / OPTIONS_FILE).read_bytes()
    with pytest.raises(CheckpointError, match="another run"):
        distill(dataclasses.replace(small_run, loss="huber", resume=True), tiny_set())
    assert (small_run.out / OPTIONS_FILE).read_bytes() == record


def test_a_resumption_from_another_start_is_refused(small_run: DistillOptions, tmp_path: Path) -> None:
    made = distill(dataclasses.replace(small_run, out=tmp_path / "from"), tiny_set())
    start = made.model.with_name(CHECKPOINT)
    options = dataclasses.replace(small_run, warm_start=start)
    distill(options, tiny_set())
    resumed = dataclasses.replace(options, resume=True)
    distill(resumed, tiny_set())
    torch.save({**torch.load(start, weights_only=True), "step": 0}, start)
    with pytest.raises(CheckpointError, match="the file of `warm_start` is not what it was when this run began"):
        distill(resumed, tiny_set())
    checkpoint = options.out / CHECKPOINT
    state = torch.load(checkpoint, weights_only=True)
    del state["warm_start"]  # as checkpoints were once
    torch.save(state, checkpoint)
    distill(resumed, tiny_set())


def test_making_a_graph_leaves_the_statistics_of_a_net(monkeypatch: pytest.MonkeyPatch) -> None:
    net, pixels = tiny_net().train(), torch.rand(4, 3, SIZE, SIZE)
    before = [buffer.clone() for buffer in net.buffers()]

    def warmed_up(whole: torch.nn.Module, given: tuple[torch.Tensor]) -> torch.nn.Module:
        for _ in range(3):
            whole(*given)
        assert not torch.equal(next(net.buffers()), before[0])
        return whole

    monkeypatch.setattr("torch.cuda.make_graphed_callables", warmed_up)
    graphed_net(net, pixels)
    assert all(torch.equal(now, then) for now, then in zip(net.buffers(), before, strict=True))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": float("nan")}, "`epochs`: must be above 0, found nan"),
        ({"learning_rate": float("inf")}, "`learning_rate`: must be above 0, found inf"),
        ({"weight_decay": float("nan")}, "`weight_decay`: must be at least 0, found nan"),
        ({"watch_every": -1.0}, "`watch_every`: must be at least 0, found -1"),
        ({"taps": ("x", "y")}, "`taps`: guide by the teacher's map of that very view; set `views` to 1 or more"),
        ({"batch_size": 95}, "94 crops to train on do not fill a batch of 95; give more"),
    ],
)
def test_options_that_no_run_can_use_are_refused_before_anything_is_asked(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    wanted = DistillOptions(student="facelet_xs", teachers=("facelet_xs",), out=tmp_path / "run", **options)
    with pytest.raises(FaceletError, match=re.escape(said)):
        distill(wanted, tiny_set())


def test_the_held_out_crops_that_are_measured_lie_all_over_the_set() -> None:
    transfer, net = tiny_set(), tiny_net().eval()
    held = np.arange(transfer.n_images)
    said = embed_pixels(net, clean_pixels(net, transfer, held))
    said[: len(held) // 2] *= -1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facelet.train.measure.MEASURED_CROPS", 10)
        assert held_cosine(net, transfer, held, said)(net)["held_cosine"] == pytest.approx(0.0, abs=1e-6)
