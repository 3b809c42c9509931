"""Settings of a run: typed dataclasses, filled from a recipe, a TOML file and `--set key=value`, in that order."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import hashlib
import json
import os
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from cloudseg.core.errors import UsageError
from cloudseg.core.recipes import RECIPES, Stage

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    every_steps: int = 200
    """Most optimizer steps between two checkpoints; there is one at the end of every epoch besides."""
    every_minutes: float = 5.0
    """Most minutes between two checkpoints."""
    keep: int = 3
    """How many are kept; older ones are removed when a new one is whole."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides what weights come out, given the number of ranks."""

    data: str
    """Folder of shards, as `python -m preprocess` wrote it."""
    recipe: str = "paper"
    network: str = "unet-resnet34"
    weights: str = "imagenet"
    """What the encoder starts from: "imagenet" (from the weights cache), "none" (random), or a file."""
    batchnorm: bool = True
    """Whether the decoder normalises its batches."""
    precision: str = "float32"
    """"float32", or "mixed": float16 where it is safe, with a loss scale; for GPUs."""
    compression: str = "none"
    """"none", or "fp16": gradients travel between ranks as float16, which rounds them to three digits and halves what
    the links carry."""
    loss: str = "bce_dice"
    positive_weight: tuple[float, ...] = ()
    """Of weighted_bce: how much a pixel of a class weighs over one that is not; one for all or one a class. Without,
    pixels in the training images that are not of the class over those that are."""
    batch: int = 8
    """Images per rank and step; `accumulate` of a stage multiplies it."""
    seed: int = 0
    fold: int = 0
    """The fold that validates; all others train."""
    folds: tuple[int, ...] = ()
    """Of a cross-validation: folds that validate one after the other, each in a run of its own, as RUN/fold-0."""
    augment: str = "standard"
    """How strongly training samples are changed: "none", "flips", "standard" or "strong"."""
    checkpoint: Checkpoint = Checkpoint()
    stages: tuple[str, ...] = ()
    """Names of the stages, in their order; the recipe's unless given."""
    stage: Mapping[str, Stage] = dataclasses.field(default_factory=dict)


def resolve(layers: list[tuple[str, Mapping[str, Any]]], default_data: str | None = None) -> Settings:
    """Settings from `layers`, each (where it comes from, nested table), later ones over earlier ones.

    Raises UsageError for an unknown key (with the nearest valid one), a wrong type, an unknown recipe, no data.
    """
    given: dict[str, Any] = {}
    layers = [(where, current_names(Settings, table)) for where, table in layers]
    for where, table in layers:
        _check_keys(Settings, table, where)
        given = merge(given, table)
    if "data" not in given and default_data:
        given["data"] = default_data
    if not given.get("data"):
        raise UsageError(
            "no data set is named; make the shards (python -m preprocess --csv train.csv --images DIR --out DATA), "
            "then add: --data DATA"
        )
    name = given.get("recipe", "paper")
    if name not in RECIPES:
        raise UsageError(f"recipe: there is no {name!r}{nearest(str(name), RECIPES)}")
    recipe = RECIPES[name]
    table = {stage: dataclasses.asdict(s) for stage, s in recipe.stages.items()}
    merged = merge({**recipe.settings, "stages": list(table), "stage": table}, given)
    merged["data"] = str(Path(given["data"]).resolve())
    names = merged["stages"]
    for where, layer in layers:
        for stage in layer.get("stage", {}):
            if stage not in names:
                raise UsageError(
                    f"{where}: there is no stage {stage!r}{nearest(stage, names)} (`stages` lists them in their order)"
                )
    merged["stage"] = {stage: merged["stage"].get(stage, {}) for stage in names}
    return build(Settings, merged, "settings")


def read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None


def to_table(settings: Settings) -> dict[str, Any]:
    """The settings as the nested table that `run.toml` holds."""
    table = {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(settings).items()
    }
    # Left out where they say nothing, as digests are to be as before there were such settings.
    if not settings.folds:
        del table["folds"]
    if settings.compression == "none":
        del table["compression"]
    return table


def current_names(cls: type, table: Mapping[str, Any]) -> dict[str, Any]:
    """`table` with the fields of `cls` and of its stages under the names that they have now (`OLD_NAMES` of a
    dataclass lists earlier ones)."""
    old = getattr(cls, "OLD_NAMES", {})
    out = {old.get(key, key): value for key, value in table.items()}
    if cls is Settings and isinstance(stages := out.get("stage"), Mapping):
        out["stage"] = {
            name: current_names(Stage, stage) if isinstance(stage, Mapping) else stage for name, stage in stages.items()
        }
    return out


def digest(settings: Settings) -> str:
    """sha256 over the settings, whatever order they were written in. Fields have the names of their first version, so
    that a renamed field does not change the digest of a run that began before."""
    table, first = to_table(settings), {new: old for old, new in Stage.OLD_NAMES.items()}
    table["stage"] = {
        name: {first.get(key, key): value for key, value in stage.items()} for name, stage in table["stage"].items()
    }
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`, table by table."""
    out = dict(below)
    for key, value in above.items():
        out[key] = merge(out[key], value) if isinstance(value, Mapping) and key in out else value
    return out


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"stage": {"full": {"lr": 1}}} -> {"stage.full.lr": 1}."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            out.update(flatten(value, f"{prefix}{key}."))
        else:
            out[prefix + key] = value
    return out


def differences(old: Settings, new: Settings) -> list[str]:
    """One line for each setting that differs, "key: old -> new"."""
    before, after = flatten(to_table(old)), flatten(to_table(new))
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """A dataclass from a table; every value is checked against its field's type. Fields may have the names that they
    had in earlier versions, see `current_names`."""
    table = current_names(cls, table)
    _check_keys(cls, table, where)
    hints = typing.get_type_hints(cls)
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in table.items()}
    missing = [
        f.name
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UsageError(f"{where}: {', '.join(missing)} missing")
    return cls(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: must be a table, not {value!r}")
        return build(typing.cast(type, hint), value, where)
    origin = typing.get_origin(hint)
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: must be a table, not {value!r}")
        item = typing.get_args(hint)[1]
        return {key: _value(item, inner, f"{where}.{key}") for key, inner in value.items()}
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise UsageError(f"{where}: must be a list, not {value!r}")
        return tuple(_value(typing.get_args(hint)[0], inner, where) for inner in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UsageError(f"{where}: must be {_kind(hint)}, not {value!r}")
    return value


def _kind(hint: type) -> str:
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    return names.get(hint, str(hint))


def _check_keys(cls: Any, table: Mapping[str, Any], where: str) -> None:
    known = {f.name: f for f in dataclasses.fields(cls)}
    for key, value in table.items():
        if key not in known:
            raise UsageError(f"{where}: there is no setting {key!r}{nearest(key, known)}")
        if key == "stage" and isinstance(value, Mapping):
            for stage, inner in value.items():
                _check_keys(Stage, inner, f"{where}: stage.{stage}")


def nearest(word: str, known: typing.Iterable[str]) -> str:
    """What to add to an error about an unknown word: the one that was probably meant, else all."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names)}"


def parse_assignment(text: str) -> dict[str, Any]:
    """'stage.full.lr=1e-5' -> {"stage": {"full": {"lr": 1e-5}}}; a value that is not TOML is a string."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UsageError(f"--set {text}: must be key=value, for example --set stage.full.lr=1e-5")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for part in reversed(key.split(".")):
        parsed = {part: parsed}
    return typing.cast(dict[str, Any], parsed)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options by which every command that may create a run takes its settings."""
    group = parser.add_argument_group("settings of the run (fixed by its first command)")
    group.add_argument("--data", metavar="DATA", help="folder of shards (default: $CLOUDSEG_DATA)")
    group.add_argument("--config", metavar="F.toml", type=Path, help="settings file (default: $CLOUDSEG_CONFIG)")
    group.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, over the file: --set network=unet-resnet18 --set stage.full.lr=1e-5",
    )


def from_arguments(args: argparse.Namespace) -> list[tuple[str, Mapping[str, Any]]]:
    """The layers that the command line gives, for `resolve`."""
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if args.config:
        table = read_toml(args.config)
        table.pop("made", None)  # a run.toml says what made it, which is no setting
        layers.append((str(args.config), table))
    if args.data:
        layers.append(("--data", {"data": args.data}))
    layers += [(f"--set {text}", parse_assignment(text)) for text in args.set]
    return layers


def from_environment() -> list[tuple[str, Mapping[str, Any]]]:
    """The layers that CLOUDSEG_CONFIG, CLOUDSEG_DATA and CLOUDSEG_SET give: how `sbatch jobs/...` is told."""
    environ = argparse.Namespace(
        config=Path(os.environ["CLOUDSEG_CONFIG"]) if os.environ.get("CLOUDSEG_CONFIG") else None,
        data=os.environ.get("CLOUDSEG_DATA"),
        set=os.environ.get("CLOUDSEG_SET", "").split(),
    )
    return from_arguments(environ)


def toml(table: Mapping[str, Any]) -> str:
    """`table` as the text of a TOML file."""
    import tomli_w  # not for --help

    return tomli_w.dumps(table)
