"""How a job declares its options: once, on the fields of its frozen config.

    @dataclass(frozen=True, kw_only=True)
    class Average:
        models: Annotated[tuple[str, ...], Option("Two files or more of one net.", argument="MODEL MODEL...")]
        out: Annotated[Path, Option("File for the mean of their weights.")] = Path("average.onnx")

The command line, the checks of `check_config` and the reference pages read these declarations. A subclass that needs
another default restates the field with a plain annotation; the rest of the declaration is inherited.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from facelet.errors import OptionError, UnknownNameError

SEED_MAX = 2**63 - 1
"""Largest seed that torch takes."""


@dataclass(frozen=True)
class Option:
    """The declaration of one option.

    Attributes:
        help: one line for people.
        flag: on the command line; by default the field's name with dashes.
        argument: placeholder of a positional argument, such as "MODEL"; empty for a flag.
        required: has to be given although the field has a default (an empty tuple).
        min: smallest value.
        max: largest value.
        above: the value is greater than this.
        below: the value is less than this.
        choices: the allowed names; a function where listing them needs a heavy import.
        shown_default: in the help, in place of the default.
        weights: the weights of a training depend on it; other options may change when a run is resumed.
    """

    help: str
    flag: str = ""
    argument: str = ""
    required: bool = False
    min: float | None = None
    max: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()
    shown_default: str = ""
    weights: bool = True

    def limits(self) -> tuple[str, ...]:
        """The bounds in words, such as "at least 0"."""
        bounds = {"at least": self.min, "above": self.above, "at most": self.max, "below": self.below}
        return tuple(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None)

    def range_text(self) -> str:
        """The bounds for the help, such as "(at least 0 and below 1)"; empty without any."""
        limits = self.limits()
        return f"({' and '.join(limits)})" if limits and self.max != SEED_MAX else ""

    def fits(self, value: float) -> bool:
        """Whether a number is finite, where there are bounds, and within them."""
        if not self.limits():
            return True
        return (
            math.isfinite(value)
            and (self.min is None or value >= self.min)
            and (self.max is None or value <= self.max)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


@dataclass(frozen=True)
class Declared:
    """One field of a config with its declaration.

    Attributes:
        name: of the field.
        kind: its type, without the annotation.
        default: `dataclasses.MISSING` where there is none.
        option: the declaration.
    """

    name: str
    kind: Any
    default: Any
    option: Option

    @property
    def flag(self) -> str:
        """As it is written on the command line; a positional argument's placeholder."""
        return self.option.argument or self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def required(self) -> bool:
        """Whether a value has to be given."""
        return self.option.required or self.default is dataclasses.MISSING


def declared(config: type[Any]) -> tuple[Declared, ...]:
    """The options of a config class, in the order of its fields; fields without a declaration are left out."""
    found = []
    for field in dataclasses.fields(config):
        option, kind = _declaration(config, field.name)
        if option is not None and field.init:
            found.append(Declared(field.name, kind, field.default, option))
    return tuple(found)


def check_config(config: Any) -> None:
    """Refuses values outside the declared ranges and choices.

    Raises:
        OptionError: a number out of range, or a required option that is empty.
        UnknownNameError: a name that is not among the choices.
    """
    for field in declared(type(config)):
        value = getattr(config, field.name)
        if field.option.required and not value:
            raise OptionError(f"`{field.name}`: not given; {field.option.help}")
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, int | float) and not field.option.fits(one):
                raise OptionError(f"`{field.name}`: must be {' and '.join(field.option.limits())}, found {one:g}")
        choices = field.option.choices() if callable(field.option.choices) else field.option.choices
        if choices and isinstance(value, str) and value not in choices:
            raise UnknownNameError(field.name.replace("_", " "), value, choices)


def reject_unused(config: Any, reason: str, *names: str) -> None:
    """Refuses options that were set and would change nothing.

    Args:
        reason: why they would not, such as "without `taps`".
        names: of the fields.

    Raises:
        OptionError: one of them differs from its default.
    """
    given = [f"`{d.name}`" for d in declared(type(config)) if d.name in names and getattr(config, d.name) != d.default]
    if given:
        raise OptionError(f"{', '.join(given)}: changes nothing {reason}; leave it out")


def as_flags(message: str, config: type[Any]) -> str:
    """A message of the library as the command line prints it: names of fields in backticks become flags.

    Args:
        message: of an error or a note.
        config: of the job that runs; other words in backticks stay as they are.
    """
    flags = {field.name: field.flag for field in declared(config)}
    return re.sub(r"`(\w+)`", lambda found: flags.get(found[1], found[0]), message)


def command_line(command: str, config: Any) -> str:
    """The command that runs a job with this config, for a model's card.

    Options at their default are left out. Absolute paths, which name a machine, are cut to their last part.

    Args:
        command: such as "facelet distill".
        config: of the job.
    """
    words = command.split()
    fields = declared(type(config))
    for field in (*(f for f in fields if f.option.argument), *(f for f in fields if not f.option.argument)):
        value = getattr(config, field.name)
        if value == field.default or value is None or value is False:
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [] if field.option.argument else [field.flag]
            words += [] if one is True else [_written(one)]
    return shlex.join(words)


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"
    text = str(value)
    return Path(text).name if Path(text).is_absolute() else text


def _declaration(config: type[Any], name: str) -> tuple[Option | None, Any]:
    """The declaration and the type of a field, found at the class that declares it."""
    kind: Any = None
    for owner in config.__mro__:
        if name not in inspect.get_annotations(owner):
            continue
        hint = _hints(owner)[name]
        if get_origin(hint) is Annotated:
            base, *notes = get_args(hint)
            option = next((note for note in notes if isinstance(note, Option)), None)
            return option, base if kind is None else kind
        kind = hint if kind is None else kind
    return None, kind


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(owner: type[Any]) -> dict[str, Any]:
    if owner not in _HINTS:
        _HINTS[owner] = get_type_hints(owner, include_extras=True)
    return _HINTS[owner]
