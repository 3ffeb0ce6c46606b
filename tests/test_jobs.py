"""Invariant: an option is declared once; config, flags and reference agree."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

import facelet
from conftest import Ended
from facelet.cli import app
from facelet.config import Option, as_flags, check_config, command_line, declared, reject_unused
from facelet.errors import OptionError, UnknownNameError
from facelet.jobs.average import Average
from facelet.jobs.bench import Bench
from facelet.jobs.demo_config import RunDemo
from facelet.jobs.distill import Distill
from facelet.jobs.evaluate import Calibrate, Evaluate
from facelet.jobs.landmarks import TrainLandmarks
from facelet.jobs.study import RunStudy
from facelet.jobs.triplet import TrainTriplet

Cli = Callable[..., Ended]

JOBS: dict[str, type[Any]] = {
    "average": Average,
    "bench": Bench,
    "calibrate": Calibrate,
    "demo": RunDemo,
    "evaluate": Evaluate,
    "study": RunStudy,
    "distill": Distill,
    "train landmarks": TrainLandmarks,
    "train triplet": TrainTriplet,
}
SHARED = {"--json", "--quiet", "--seed", "-q"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    side: Annotated[int, Option("Side in pixels.", min=16, max=128)] = 64
    rate: Annotated[float, Option("Rate.", above=0, below=1)] = 0.5
    names: Annotated[tuple[str, ...], Option("Names.", flag="--name", required=True)] = ()
    sizes: Annotated[tuple[int, ...], Option("Sizes.", flag="--size", min=1)] = ()
    kind: Annotated[str, Option("Kind.", choices=lambda: ("mean", "max"))] = "mean"
    deep: Annotated[bool, Option("Deep.")] = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derived(Base):
    side: int = 96
    model: Annotated[str, Option("Model.", argument="MODEL")]


def flags(name: str) -> set[str]:
    command = typer.main.get_command(app)
    for word in name.split():
        command = command.commands[word]  # type: ignore[attr-defined]
    return {
        str(parameter.metavar) if type(parameter).__name__.endswith("Argument") else option
        for parameter in command.params
        for option in parameter.opts
    }


@pytest.mark.parametrize("name", JOBS)
def test_the_fields_of_a_config_are_the_flags_of_its_command(name: str) -> None:
    fields = declared(JOBS[name])
    assert {field.flag for field in fields} | SHARED == flags(name) | SHARED
    assert all(field.option.help.endswith((".", ")")) or "%" in field.option.help for field in fields)
    undeclared = {f.name for f in dataclasses.fields(JOBS[name]) if f.init} - {field.name for field in fields}
    assert not undeclared


@pytest.mark.parametrize("name", JOBS)
def test_every_default_is_in_its_own_range(name: str) -> None:
    for field in declared(JOBS[name]):
        if isinstance(field.default, int | float):
            assert field.option.fits(field.default), field.name


def test_a_restated_default_keeps_the_declaration() -> None:
    side = {field.name: field for field in declared(Derived)}["side"]
    assert (side.default, side.kind, side.option.max, side.flag) == (96, int, 128, "--side")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"side": 8}, "`side`: must be at least 16 and at most 128, found 8"),
        ({"rate": 0.0}, "`rate`: must be above 0 and below 1, found 0"),
        ({"rate": float("nan")}, "`rate`: must be above 0 and below 1, found nan"),
        ({"sizes": (2, 0)}, "`sizes`: must be at least 1, found 0"),
        ({"names": ()}, "`names`: not given; Names."),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as refused:
        check_config(Derived(**{"model": "m", "names": ("a",), **values}))
    assert str(refused.value) == message


def test_unknown_choices_name_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="kind 'maxx': not known; did you mean 'max'"):
        check_config(Derived(model="m", names=("a",), kind="maxx"))


def test_options_that_change_nothing_are_refused() -> None:
    config = Derived(model="m", names=("a",), rate=0.25)
    reject_unused(config, "without `deep`", "side")
    with pytest.raises(OptionError, match="`rate`: changes nothing without `deep`; leave it out"):
        reject_unused(config, "without `deep`", "rate", "side")


def test_messages_name_fields_and_the_command_line_prints_flags() -> None:
    assert as_flags("`names`: give `side` or `deep`", Derived) == "--name: give --side or --deep"
    assert as_flags("`photo`.png: as `facelet models` lists", Derived) == "`photo`.png: as `facelet models` lists"


def test_the_recipe_of_a_config_is_the_command_that_runs_it(tmp_path: Path) -> None:
    config = Derived(model=str(tmp_path / "m.onnx"), names=("a b", "c"), rate=0.25, deep=True)
    assert command_line("facelet x", config) == "facelet x m.onnx --rate 0.25 --name 'a b' --name c --deep"


def test_a_command_takes_nothing_but_its_config(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def job(config: Derived, *, on: object) -> str:
        seen.append(config)
        raise OptionError("`names`: all alike")

    from facelet.cli.derive import command

    scratch = typer.Typer()
    scratch.command()(command(Derived, job, lambda *_: None, "Try."))
    monkeypatch.setattr("facelet.cli.app", scratch)
    ended = cli("m.onnx", "--name", "a", "--name", "b", "--rate", "0.25", "--deep")
    assert (ended.code, ended.err) == (2, "facelet: --name: all alike [FL-OPTION]\n")
    assert seen == [Derived(model="m.onnx", names=("a", "b"), rate=0.25, deep=True)]


def test_the_reference_page_is_what_the_configs_declare() -> None:
    path = Path(__file__).parents[1] / "docs" / "build_reference.py"
    spec = importlib.util.spec_from_file_location("build_reference", path)
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    assert build.PAGE.read_text(encoding="utf-8") == build.page(), "run: python docs/build_reference.py"
    assert {config for _, config in build.JOBS.values()} == set(JOBS.values())
    for function, config in build.JOBS.values():
        module, _, name = function.rpartition(".")
        job = getattr(facelet, name) if not module else getattr(importlib.import_module(f"facelet.{module}"), name)
        first, *_ = inspect.signature(job).parameters.values()
        assert first.annotation == config.__name__, "the call that the page shows is the job's"
        assert getattr(facelet, config.__name__) is config
