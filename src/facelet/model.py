"""A model is one file with its card: what it eats, what made it, how far apart two people are.

`Card` travels in the ONNX file's `metadata_props` (key `facelet.card`, JSON). Foreign files that carry no
card are recognised by their content hash (`assets.KNOWN_MODELS`) or take a card from a JSON file beside them
(`NAME.card.json`). Finding, reading and writing such files is `model_files.py`, running them `embedder.py`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from facelet.errors import InputError, ModelError, shown

CARD_KEY = "facelet.card"

OUTPUTS = ("embedding", "landmarks")


@dataclass(frozen=True)
class Card:
    """What a model's file says of itself.

    Attributes:
        name: short name, as `facelet models` prints it.
        height: input height in pixels.
        width: input width in pixels.
        color: channel order of the input, "rgb" or "bgr".
        mean: per input channel, subtracted from pixels in 0..255.
        scale: per input channel, multiplied after the mean: `x = (pixel - mean) * scale`.
        template: name in `faces.templates.TEMPLATES` of the alignment that the net was trained with.
        embedding_size: length of the embedding.
        normalized: whether the file itself ends in unit vectors (the embedder normalises in any case).
        thresholds: squared Euclidean distance of unit embeddings below which two photos are called the
            same person, keyed by false accept rate ("1e-2", "1e-3").
        calibration_detector: name of the detector that the thresholds were measured with; empty is the default one.
        calibration_aligned: whether they were measured on aligned faces, or on the detector's boxes.
        parameters: learnable parameters plus batch-norm running statistics; 0 if not known.
        macs: multiply-accumulates of one inference; 0 if not known.
        metrics: measured figures, for example {"lfw_view2_yunet": 0.9945}; fractions.
        teacher: what it was distilled from; empty if not distilled.
        data: what it was trained on.
        recipe: the command that trained it.
        commit: version of this repository that trained it.
        licence: of the weights.
        output: what the net tells: "embedding", or "landmarks", whose places `faces.refine` mends.
        output_name: of the tensor in the file that is the embedding; empty where it is the file's first output.
    """

    name: str
    height: int
    width: int
    template: str
    embedding_size: int
    color: str = "rgb"
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    scale: tuple[float, float, float] = (1 / 127.5, 1 / 127.5, 1 / 127.5)
    normalized: bool = True
    thresholds: dict[str, float] = field(default_factory=dict)
    calibration_detector: str = ""
    calibration_aligned: bool = True
    parameters: int = 0
    macs: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    teacher: str = ""
    data: str = ""
    recipe: str = ""
    commit: str = ""
    licence: str = ""
    output: str = "embedding"
    output_name: str = ""

    def to_json(self) -> str:
        """The card as one JSON object with sorted keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)

    @staticmethod
    def from_json(text: str, where: str) -> Card:
        """Reads a card.

        Args:
            where: file name for the error message.

        Raises:
            ModelError: not JSON, a field is missing, unknown or of the wrong kind.
        """
        try:
            values: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise ModelError(f"{where}: the card is not JSON ({error.msg} at line {error.lineno})") from error
        except (RecursionError, ValueError) as error:  # brackets in brackets, a number of thousands of digits
            raise ModelError(f"{where}: the card cannot be read ({error})") from error
        if not isinstance(values, dict):
            raise ModelError(f"{where}: the card must be a JSON object, found {type(values).__name__}")
        known = {f.name: f for f in dataclasses.fields(Card)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ModelError(f"{where}: the card has unknown fields {', '.join(unknown)}; known: {', '.join(known)}")
        missing = [
            name
            for name, f in known.items()
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and name not in values
        ]
        if missing:
            raise ModelError(f"{where}: the card lacks {', '.join(missing)}")
        for name in ("mean", "scale"):
            if isinstance(values.get(name), list):
                values[name] = tuple(values[name])
        card = Card(**values)
        card.check(where)
        return card

    def check(self, where: str) -> None:
        """Raises `ModelError` where a field is of the wrong kind or out of range."""
        for name in ("height", "width", "embedding_size"):
            value = getattr(self, name)
            if not _is_whole(value) or not 1 <= value <= 4096:
                raise ModelError(f"{where}: card field {name} must be a whole number in 1..4096, found {value!r}")
        for name in ("parameters", "macs"):
            value = getattr(self, name)
            if not _is_whole(value) or value < 0:
                raise ModelError(f"{where}: card field {name} must be a whole number from 0, found {value!r}")
        origin = ("calibration_detector", "teacher", "data", "recipe", "commit", "licence", "output_name")
        for name in ("name", "template", *origin):
            value = getattr(self, name)
            if not isinstance(value, str) or (not value and name in ("name", "template")):
                raise ModelError(f"{where}: card field {name} must be text, found {value!r}")
        if (
            len(self.name) > 100
            or self.name.startswith(".")
            or not self.name.isprintable()
            or set(self.name) & {*"/\\"}
        ):
            raise ModelError(
                f"{where}: card field name must be at most 100 characters that can stand in a file's name, "
                f"found {self.name!r}"
            )
        if self.output not in OUTPUTS:
            raise ModelError(f"{where}: card field output must be one of {', '.join(OUTPUTS)}, found {self.output!r}")
        for name in ("mean", "scale"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or len(value) != 3 or not all(_is_number(v) for v in value):
                raise ModelError(f"{where}: card field {name} must be three numbers, found {value!r}")
        if not all(self.scale):
            raise ModelError(f"{where}: card field scale must not hold 0, found {self.scale!r}: no photo would be seen")
        for name in ("thresholds", "metrics"):
            value = getattr(self, name)
            if not isinstance(value, dict) or not all(_is_number(v) for v in value.values()):
                raise ModelError(f"{where}: card field {name} must map names to numbers, found {value!r}")
        for far, threshold in self.thresholds.items():
            if _rate(far) is None or not 0 <= threshold <= 4:
                raise ModelError(
                    f"{where}: card field thresholds must map false accept rates such as '1e-3' "
                    f"to squared distances in 0..4, found '{far}': {threshold}"
                )
        if self.color not in ("rgb", "bgr"):
            raise ModelError(f"{where}: card field color must be 'rgb' or 'bgr', found {self.color!r}")
        for name in ("normalized", "calibration_aligned"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ModelError(f"{where}: card field {name} must be true or false, found {value!r}")

    def threshold_at(self, far: float) -> float:
        """The calibrated threshold for a false accept rate.

        Args:
            far: false accept rate in (0, 1).

        Returns:
            Squared Euclidean distance in [0, 4] below which two photos are called the same person.

        Raises:
            ModelError: the card holds no threshold for this rate.
        """
        for key, threshold in self.thresholds.items():
            rate = _rate(key)
            if rate is not None and math.isclose(rate, far, rel_tol=1e-6):
                return threshold
        known = ", ".join(sorted(self.thresholds))
        mend = "measure one with: facelet calibrate MODEL --data LFW, or give a --threshold of your own"
        raise ModelError(
            f"model {self.name}: no threshold for FAR {far:g} in its card "
            + (f"(there: {known}); choose one of these, or {mend}" if known else f"(there: none); {mend}")
        )


@dataclass(frozen=True)
class Model:
    """One model file and its card.

    Attributes:
        path: the ONNX file, or the `.xml` of an OpenVINO IR, or a dlib `.dat`.
        card: what it eats and what made it.
        sha256: of the file's content (for an IR, of the `.bin`).
    """

    path: Path
    card: Card
    sha256: str

    @property
    def size_bytes(self) -> int:
        """On disk, the file and that of its weights."""
        return sum(file.stat().st_size for file in {self.path, weights_path(self.path)})


def weights_path(path: Path) -> Path:
    """The file that holds a model's weights: the `.bin` of an IR, else the model's own."""
    return path.with_suffix(".bin") if path.suffix == ".xml" else path


def checked_threshold(where: str, threshold: float) -> float:
    """A threshold that a user gives in place of a card's, as a float.

    Raises:
        InputError: not a number above 0 and at most 4.
    """
    try:
        number = float(threshold)
    except (TypeError, ValueError):
        raise InputError(f"{where}: must be a number, found {shown(threshold)}") from None
    if not 0 < number <= 4:
        raise InputError(f"{where}: {number:g} is not a squared distance of unit vectors; expected above 0, at most 4")
    return number


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _rate(key: object) -> float | None:
    """A threshold's key as a false accept rate in (0, 1); None where it is none."""
    try:
        rate = float(str(key))
    except ValueError:
        return None
    return rate if 0 < rate < 1 else None
