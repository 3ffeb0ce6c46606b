"""Invariant: a study runs on synthetic faces in seconds, and its page comes from its JSON alone."""

from __future__ import annotations

import importlib
import itertools
import json
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from conftest import Ended
from drawn_faces import draw_face
from facelet.data.pairs import Pairs
from facelet.data.transfer import TransferSet
from facelet.errors import DeviceError, InputError
from facelet.faces.align import align, warp_to
from facelet.faces.detect import Face
from facelet.faces.detectors import load_detector
from facelet.faces.similarity import similarity
from facelet.faces.templates import load_template
from facelet.jobs.study import RunStudy, study_command
from facelet.lock import take
from facelet.model_files import load_model
from facelet.quantize.search import unit
from facelet.studies import STUDIES, transfer_size
from facelet.studies.arm_marks import LOCK, MARK, already_made, graphs_key
from facelet.studies.arms import BF16, distilled, going_on, held_out, recovered
from facelet.studies.compatibility import fitted_map
from facelet.studies.croppings import AFFINE, CROPPINGS, SQUARE
from facelet.studies.failures import CENTRE_INSTEAD, DIFFERENT, LEFT_OUT, policies
from facelet.studies.labels import label_points
from facelet.studies.opencl_ms import opencl_ms
from facelet.studies.seen import differences
from facelet.studies.size import front
from facelet.studies.study import Context, cell, check_distinct, page, save_plot
from facelet.studies.teachers import Arm, arms
from tiny_graphs import every_op
from tiny_models import tiny_card, tiny_onnx, write_tiny
from tiny_training import tiny_set


@pytest.mark.parametrize("name", STUDIES)
def test_a_quick_study_writes_all_and_the_page_is_rebuilt(
    name: str, cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facelet.jobs.study.QUICK_PAIRS", 40)
    monkeypatch.setattr("facelet.jobs.study.QUICK_CROPS", 140 if name == "tune" else 80)
    monkeypatch.setattr("facelet.train.run.STATISTICS_CROPS", 32)
    study = importlib.import_module(f"facelet.studies.{name.replace('-', '_')}")
    if hasattr(study, "QUICK_STEPS"):
        monkeypatch.setattr(study, "QUICK_STEPS", min(3, study.QUICK_STEPS))
    models = ("--model", "facelet_xs", "--model", "mobilenet_v2_035") if name == "compatibility" else ()
    ended = cli("study", name, "--quick", "--out", tmp_path, "--json", "--quiet", *models)
    assert ended.code == 0, ended.err
    said = json.loads(ended.out)
    assert json.loads((tmp_path / f"{name}.json").read_text()) == said
    png, text = (tmp_path / f"{name}.png").read_bytes(), (tmp_path / f"{name}.md").read_text()
    columns = [key for key, _heading in STUDIES[name].columns]
    assert {key for row in said["rows"] for key in row} >= set(columns), "a column that no row fills"
    for row in said["rows"]:
        assert "nan" not in json.dumps(row).lower()
        assert f"| {' | '.join(cell(row.get(key), title) for key, title in STUDIES[name].columns)} |" in text
    assert png.startswith(b"\x89PNG")
    assert f"facelet study {name} --quick" in text
    (tmp_path / f"{name}.notes.md").write_text("It shows this.\n")
    (tmp_path / f"{name}.md").unlink()
    assert cli("study", "--pages", "--out", tmp_path).code == 0
    assert (tmp_path / f"{name}.png").read_bytes() == png
    assert (tmp_path / f"{name}.md").read_text() == text + "\nIt shows this.\n"


def test_without_a_name_the_studies_are_listed(cli: Callable[..., Ended]) -> None:
    assert [row["name"] for row in json.loads(cli("study", "--json").out)] == list(STUDIES)
    listed = cli("study").out
    assert all(f" {study.name} " in listed and study.title in listed for study in STUDIES.values())


def test_the_net_of_landmarks_mends_noise_and_a_bare_box() -> None:
    off: dict[str, list[float]] = {}
    for seed in range(3):
        photo = draw_face(seed)
        (face,) = load_detector("dlib_refined").detect(photo)
        laid = {
            arm: CROPPINGS[arm](photo, face, "arcface", 96, np.random.default_rng(0)).astype(float)
            for arm in (AFFINE, "affine, landmarks off by 20 %", "affine, off by 20 %, refined", SQUARE, "box, refined")
        }
        for arm, crop in laid.items():
            off.setdefault(arm, []).append(float(np.abs(crop - laid[AFFINE]).mean()))
    assert np.mean(off["affine, off by 20 %, refined"]) < 0.7 * np.mean(off["affine, landmarks off by 20 %"])
    assert np.mean(off["box, refined"]) < 0.9 * np.mean(off[SQUARE])


def test_ways_to_crop_by_hand() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (200, 180, 3), np.uint8)
    template = load_template("arcface")
    points = template.points["five"] + [40.0, 50.0]
    face = Face((50.0, 60.0, 140.0, 170.0), 1.0, points, "five")
    laid = {arm: cut(image, face, "arcface", 96, np.random.default_rng(0)) for arm, cut in CROPPINGS.items()}
    np.testing.assert_array_equal(laid["five-point affine"], align(image, face, "arcface", 96, 96))
    # the landmarks are the template's own, moved: two of them give the same transform as five
    np.testing.assert_array_equal(laid["eyes only"], laid["five-point affine"])
    assert (laid["affine, landmarks off by 20 %"] != laid["five-point affine"]).mean() > 0.5
    # margin 40 %: the longer side 110 becomes 110 * 1.8 = 198 pixels around (95, 115)
    matrix = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    wide = warp_to(image, matrix, (95 - 98.5, 115 - 98.5, 95 + 99.5, 115 + 99.5), 96, 96)
    np.testing.assert_array_equal(laid["box, margin 40 %"], wide)
    # margin 0 %: the longer side around the same middle, whatever the template would take
    tight = warp_to(image, matrix, (95 - 54.5, 115 - 54.5, 95 + 55.5, 115 + 55.5), 96, 96)
    np.testing.assert_array_equal(laid["box, margin 0 %"], tight)
    assert similarity(points, points)[0, 0] == pytest.approx(1.0)


def test_the_front_holds_what_nothing_cheaper_reaches() -> None:
    points = [(3.0, 80.0), (1.0, 70.0), (2.0, 69.0), (2.0, 75.0), (4.0, 80.0), (5.0, 81.0)]
    # (2, 69) loses to (1, 70), (4, 80) to (3, 80)
    assert front(points) == [(1.0, 70.0), (2.0, 75.0), (3.0, 80.0), (5.0, 81.0)]
    assert front([]) == []


def test_without_an_opencl_device_nothing_is_timed_and_the_rest_is_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise DeviceError("OpenCL: no device found")

    monkeypatch.setattr("facelet.studies.opencl_ms.load_network", refuse)
    assert opencl_ms({"a": "facelet_xs", "b": "facelet_s"}, 1) == {"a": None, "b": None}
    arm = {"kind": "short schedule", "parameters": 400.0, "macs": 30.0, "ms": None, "accuracy": 70.0, "view2": None}
    rows = [{**arm, "name": name} for name in ("facelet_xs", "facelet_xs@width=0.5", "mobilenet_v2_035")]
    published = {"name": "net", "kind": "published", "parameters": 900.0, "view2": 99.0}
    save_plot(STUDIES["size"], [*rows, published], tmp_path / "size.png")
    assert (tmp_path / "size.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_net_trained_on_boxes_alone_is_meant_for_boxes(
    cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facelet.jobs.study.QUICK_PAIRS", 40)
    monkeypatch.setattr("facelet.studies.alignment.QUICK_STEPS", 2)
    models = ("--model", "mobilenet_v2_035")
    ended = cli("study", "alignment", "--quick", "--seeds", "2", "--out", tmp_path, "--json", "--quiet", *models)
    rows = json.loads(ended.out)["rows"]
    own = {row["trained"]: row["arm"] for row in rows if row["policy"]}
    assert own == {None: AFFINE, "aligned": AFFINE, "unaligned": SQUARE, "both": AFFINE}
    assert [row["lost"] for row in rows if row["arm"] == AFFINE and not row["policy"]] == [0.0] * 4
    # with two seeds each way is trained twice, and a row tells of both
    found = {(row["trained"], row["seeds"], row["apart"] is None) for row in rows if not row["policy"]}
    assert found == {(None, 1, True), ("aligned", 2, False), ("unaligned", 2, False), ("both", 2, False)}


def test_policies_for_photos_without_a_face() -> None:
    # ten folds of one genuine and one impostor pair, told apart without fault while every face is found
    rng = np.random.default_rng(0)
    n = 400
    left, right = np.arange(0, 2 * n, 2), np.arange(1, 2 * n, 2)
    same = np.arange(n) % 2 == 0
    pairs = Pairs(tuple(map(str, range(2 * n))), left, right, same, np.arange(n) // 2 % 10)
    found = unit(rng.standard_normal((2 * n, 32)).astype(np.float32))
    found[right[same]] = found[left[same]]
    same_face = policies(found, found, pairs, 0)
    assert same_face[CENTRE_INSTEAD] == (1.0, 1.0)
    right_share, told = same_face[LEFT_OUT]
    assert right_share == 1.0
    assert told == pytest.approx(0.9**2, abs=0.03)
    # every genuine pair without a verdict is told wrongly, every impostor pair rightly
    assert same_face[DIFFERENT] == pytest.approx((1 - (1 - told) / 2, 1.0), abs=0.02)
    elsewhere = policies(found, unit(rng.standard_normal(found.shape).astype(np.float32)), pairs, 0)
    assert elsewhere[LEFT_OUT] == same_face[LEFT_OUT]
    assert elsewhere[CENTRE_INSTEAD] == pytest.approx(same_face[DIFFERENT], abs=0.01)


def test_a_linear_map_is_found() -> None:
    rng = np.random.default_rng(0)
    source = rng.standard_normal((500, 6)).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((6, 4)))[0].astype(np.float32)
    np.testing.assert_allclose(fitted_map(source, source @ turn), turn, atol=1e-2)
    assert np.linalg.norm(unit(source), axis=1) == pytest.approx(np.ones(500))


def test_a_page_holds_what_its_json_holds() -> None:
    study = STUDIES["alignment"]
    row = {"model": "m", "trained": None, "arm": "eyes only", "policy": None, "accuracy": 91.234}
    row |= {"std": 1.0, "lost": 0.5, "told": 100.0, "seeds": 1}
    text = page(study, {"rows": [row], "command": "facelet study x", "source": "LFW", "seeds": [0, 1]}, "So.")
    assert "| m | eyes only | - | 91.23 | 1.00 | - | 0.50 | 100.00 | 1 |" in text
    assert "Measured on LFW; seeds 0, 1." in text
    assert text.endswith("So.\n")
    assert [cell(value, "%") for value in (None, 1.005, 3, "a")] == ["-", "1.00", "3", "a"]
    assert [cell(0.70149, heading) for heading in ("cosine of the two", "cosine, %")] == ["0.7015", "0.70"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("study", "alignmnt"), "alignment"),
        (("study", "alignment", "--data", "nowhere"), "nowhere"),
        (("study", "--pages", "--out", "empty"), "holds no results"),
        (("study", "losses", "--quick", "--view", "9"), "--view: 9 is not known; LFW has views 1 and 2"),
        (("study", "compatibility", "--quick", "--seeds", "2"), "draws its crops once, by --seed"),
        (("study", "degraded", "--quick", "--model", "facelet_xs"), "needs a student's file and then its teachers"),
        (("study", "alignment", "--quick", "--model", "facelet_q"), "facelet_q"),
        (("study", "transfer-size"), "--transfer: the study transfer-size needs shards of real crops"),
    ],
)
def test_bad_input_is_one_line(
    cli: Callable[..., Ended], arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = cli(*arguments)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_damaged_results_are_refused(cli: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "alignment.json").write_text("{}")
    ended = cli("study", "--pages", "--out", tmp_path)
    assert ended.code == 2
    assert "not the results of a study" in ended.err


def test_studies_are_listed(cli: Callable[..., Ended]) -> None:
    assert set(STUDIES) <= set(cli("study").out.split())


def test_teachers_are_tried_alone_and_the_first_two_together() -> None:
    three = arms([128, 256, 128])
    assert [arm.teachers for arm in three] == [(0,), (1,), (2,), (0, 1), (0, 1)]
    assert [arm.join for arm in three[3:]] == ["concatenate", "procrustes"]
    assert [arm.join for arm in arms([128, 128])[2:]] == ["concatenate", "procrustes", "average"]
    assert arms([128]) == [Arm((0,))]


def test_smaller_real_sets_lie_within_larger_ones_and_none_holds_an_unseen_crop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfer_size, "SIZES", (5, 20, 10_000))
    monkeypatch.setattr(transfer_size, "SYNTHETIC", ((2, 3),))
    whole = tiny_set()
    learned, held = held_out(whole, 0.1, seed=0)
    five, twenty, everything, drawn = transfer_size.arms(whole, learned, 0.1, 0)

    def rows_of(transfer: TransferSet) -> set[int]:
        return {int(np.flatnonzero((whole.crops == crop).all(axis=(1, 2, 3)))[0]) for crop in transfer.crops}

    assert rows_of(five.transfer) < rows_of(twenty.transfer) < set(learned.tolist())
    assert not rows_of(twenty.transfer) & set(held.tolist())
    assert len({five.transfer.key, twenty.transfer.key, whole.key}) == 3
    other = transfer_size.arms(whole, learned, 0.1, 1)[0].transfer
    assert other.key != five.transfer.key, "a cache of embeddings is found by the key: other crops, another key"
    assert (everything.transfer, everything.holdout) == (whole, 0.1)
    assert (drawn.source, drawn.transfer.n_images) == ("synthetic", 6)


def test_what_having_seen_people_adds_is_counted_by_group() -> None:
    def row(people: str, seen: str, tar: float) -> dict[str, object]:
        return {"people": people, "seen": seen, "cosine": tar / 100, "tar": tar, "eer": 100 - tar}

    rows = [row("a", "no", 60.0), row("a", "yes", 63.0), row("a", "no", 62.0), row("a", "yes", 67.0)]
    rows += [row("b", "no", 50.0), row("b", "yes", 49.0)]
    first, second = differences(rows)
    assert (first["people"], first["tar"], first["eer"]) == ("a", 4.0, -4.0)
    assert first["cosine"] == pytest.approx(0.04)
    assert (second["people"], second["tar"]) == ("b", -1.0)


def test_an_arm_is_taken_for_its_own_study_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mse-0"
    file = folder / "model.onnx"
    assert not already_made(file, folder, "a")
    assert not already_made(file, folder, "b"), "nothing is there yet, so nothing can be mixed up"
    file.write_text("made by b")
    assert already_made(file, folder, "b")
    with pytest.raises(InputError, match="mse-0: an arm of other models, data or options; give another --out"):
        already_made(file, folder, "a")
    (folder / "arm.txt").unlink()
    with pytest.raises(InputError, match="mse-0"):
        already_made(file, folder, "b")


def bare_context(folder: Path) -> Context:
    """What an arm needs of a study's."""
    silent: Any = lambda _title: nullcontext(lambda _done, _total: None)  # noqa: E731
    none: Any = None
    return Context(("facelet_xs",), none, tiny_set(), none, folder, True, (0,), 1, silent)


def test_an_arm_is_one_process_at_a_time_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, graph, card = bare_context(tmp_path), every_op(1), tiny_card()

    def made(*_given: object, **_options: object) -> Any:
        assert take(tmp_path / "arm" / LOCK) is None
        raise StopIteration

    monkeypatch.setattr("facelet.train.recover.recover", made)
    monkeypatch.setattr("facelet.train.run.distill", made)
    with pytest.raises(StopIteration):
        recovered(context, "arm", graph, graph, card, steps=1, seed=0)
    with pytest.raises(StopIteration):
        distilled(context, "arm", context.transfer, 1, student="facelet_xs", teachers=())


@pytest.mark.parametrize(("there", "wanted"), [(True, "bf16"), (False, "fp32")])
def test_an_arm_takes_bfloat16_where_the_processor_has_it(
    there: bool, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def made(options: Any, *_given: object, **_options: object) -> Any:
        seen.append(options.precision)
        raise StopIteration

    monkeypatch.setattr("facelet.train.run.distill", made)
    monkeypatch.setattr("facelet.nets.bfloat16.has_bfloat16", lambda: there)
    context = bare_context(tmp_path)
    with pytest.raises(StopIteration):
        distilled(context, "arm", context.transfer, 1, student="facelet_xs", teachers=(), **BF16)
    assert seen == [wanted]


def test_an_arm_that_another_process_makes_is_waited_for_and_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, graph = bare_context(tmp_path), every_op(1)
    monkeypatch.setattr("facelet.train.recover.recover", lambda *_given, **_options: pytest.fail("made twice"))
    taken: list[Path] = []

    def second() -> None:
        taken.append(recovered(context, "arm", graph, graph, tiny_card(), steps=1, seed=0))

    thread, held = threading.Thread(target=second), take(tmp_path / "arm" / LOCK)
    assert held is not None
    with held:
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        (tmp_path / "arm" / MARK).write_text(graphs_key((graph, graph), context.transfer.key, 1, 0))
        (tmp_path / "arm.onnx").write_text("made by the first")
    thread.join(10)
    assert taken == [tmp_path / "arm.onnx"]


@pytest.mark.parametrize(("side", "net"), [(96, "mobilenet_v2_035"), (128, "mobilenet_v2_035@resolution=128")])
def test_an_arm_that_goes_on_from_a_file_sees_what_it_saw(side: int, net: str, tmp_path: Path) -> None:
    card = tiny_card(name="mobilenet_v2_035", height=side, width=side)
    model = load_model(write_tiny(tmp_path / "model.onnx", card, tiny_onnx(side, side, 4)))
    assert going_on(model) == {"student": net, "warm_start": model.path}


def test_graphs_are_told_apart_by_nodes_weights_and_what_else_is_given() -> None:
    net, other = every_op(1), every_op(1)
    assert graphs_key((net,), 30) == graphs_key((other,), 30)
    name, array = next(iter(other.constants.items()))
    other = replace(other, constants={**other.constants, name: array + 1})
    assert len({graphs_key(*key) for key in (((net,), 30), ((net,), 31), ((other,), 30), ((net, other), 30))}) == 4


def test_the_same_study_with_another_net_trains_it_and_refuses_what_lies_there(
    cli: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facelet.jobs.study.QUICK_PAIRS", 40)
    monkeypatch.setattr("facelet.studies.losses.QUICK_ARMS", ("mse",))
    monkeypatch.setattr("facelet.studies.losses.QUICK_STEPS", 2)
    quick = ("study", "losses", "--quick", "--out", tmp_path, "--quiet")
    first, made = ("--model", "mobilenet_v2_035", "--model", "facelet_xs"), tmp_path / "losses-quick-runs" / "mse-0"
    assert cli(*quick, *first).code == 0
    before = (made / "model.onnx").stat().st_mtime_ns
    assert cli(*quick, *first).code == 0
    assert (made / "model.onnx").stat().st_mtime_ns == before
    ended = cli(*quick, "--model", "mobilenet_v2_035", "--model", "facelet_s")
    assert ended.code == 2
    assert "mse-0: an arm of other models, data or options" in ended.err


def test_two_models_of_one_name_are_refused() -> None:
    check_distinct(["a", "b"])
    with pytest.raises(InputError, match="two of the models are called a; give one of them another --name"):
        check_distinct(["a", "b", "a"])


LFW = {"data": Path("lfw"), "detector": "dlib"}


@pytest.mark.parametrize(
    ("options", "seeds", "command"),
    [
        ({"name": "losses", "quick": True}, (0,), "facelet study losses --quick"),
        ({"name": "losses", "quick": True}, (3, 4), "facelet study losses --quick --seed 3 --seeds 2"),
        (
            {"name": "losses", "transfer": Path("t"), "models": ("x/teacher.onnx",), **LFW},
            (0, 1),
            "facelet study losses --data LFW --view 1 --detector dlib --transfer SHARDS --seeds 2 --model teacher.onnx",
        ),
        (
            {"name": "compatibility", "transfer": Path("t")},
            (0,),
            "facelet study compatibility --transfer SHARDS",
        ),
        (
            {"name": "compatibility", "view": 2, "backend": "openvino", **LFW},
            (0,),
            "facelet study compatibility --data LFW --view 2 --detector dlib --backend openvino",
        ),
        ({"name": "tune", "trials": 3}, (0,), "facelet study tune --seeds 1 --trials 3"),
    ],
)
def test_the_command_of_a_page_is_the_one_that_was_given(
    options: dict[str, Any], seeds: tuple[int, ...], command: str
) -> None:
    config = RunStudy(**options)
    assert study_command(config, STUDIES[options["name"]], config.data, seeds) == command


def test_names_of_near_points_cover_neither_each_other_nor_the_frame() -> None:
    figure = Figure(figsize=(5, 4))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    named = [
        ("the first name", 1.0, 1.0),
        ("the second name", 1.02, 1.0),
        ("the third name", 1.98, 1.01),
        ("x", 2.0, 2.0),
    ]
    axes.plot([x for _, x, _ in named], [y for _, _, y in named], "o")
    label_points(axes, named)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == len(named)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
