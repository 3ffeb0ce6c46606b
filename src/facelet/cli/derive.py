"""A command of the command line, derived from a job's config: its flags, defaults and help are declared there."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Protocol, TypeVar, get_args, get_origin

import typer

from facelet.cli.output import JsonOption, Output, QuietOption, SeedOption
from facelet.config import Declared, as_flags, declared
from facelet.errors import FaceletError
from facelet.events import Events

Config = TypeVar("Config", contravariant=True)
Result = TypeVar("Result", covariant=True)


class Job(Protocol[Config, Result]):
    """A job: a config in, a result out."""

    def __call__(self, config: Config, *, on: Events) -> Result:
        """Runs the job."""


def command(
    config: type[Config], job: Job[Config, Result], show: Callable[[Result, Config, Output], None], summary: str
) -> Callable[..., None]:
    """A function for Typer that runs a job and prints its result.

    Args:
        config: the job's config class; each declared field becomes an argument or a flag.
        job: what runs.
        show: prints the result.
        summary: first line of the help.
    """
    fields = declared(config)
    names = {field.name for field in fields}

    def run(**given: Any) -> None:
        out = Output(given.pop("json_"), given.pop("quiet"))
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        values = {name: () if value is None and name in repeated else value for name, value in values.items()}
        try:
            chosen = config(**{name: value for name, value in values.items() if name in names})
            show(job(chosen, on=out), chosen, out)
        except FaceletError as error:
            error.args = (as_flags(str(error), config),)
            raise

    repeated = {field.name for field in fields if get_origin(field.kind) is tuple}
    ordered = sorted((field for field in fields if field.name != "seed"), key=_place)
    parameters = [_parameter(field) for field in ordered]
    for name, kind, default in (("json_", JsonOption, False), ("quiet", QuietOption, False)):
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
    seed = next((field.default for field in fields if field.name == "seed"), 0)
    parameters.append(inspect.Parameter("seed", inspect.Parameter.KEYWORD_ONLY, default=seed, annotation=SeedOption))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__doc__ = summary
    return run


def _place(field: Declared) -> int:
    """Arguments first, then flags that have to be given, then the others as declared."""
    return 0 if field.option.argument else 1 if field.required else 2


def _parameter(field: Declared) -> inspect.Parameter:
    option = field.option
    more: dict[str, Any] = {"help": " ".join(part for part in (option.help, option.range_text()) if part)}
    if option.shown_default:
        more["show_default"] = option.shown_default
    shown = typer.Argument(metavar=option.argument, **more) if option.argument else typer.Option(field.flag, **more)
    default = inspect.Parameter.empty if field.required else field.default
    if get_origin(field.kind) is tuple and default is not inspect.Parameter.empty:
        default = list(field.default) or None
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[_typer_kind(field.kind, optional=default is None), shown],
    )


def _typer_kind(kind: Any, *, optional: bool) -> Any:
    """The type as Typer takes it: a tuple of any length is a list that repeats."""
    if get_origin(kind) is not tuple:
        return kind
    several = types.GenericAlias(list, get_args(kind)[:1])
    return several | None if optional else several
