"""Settings of a run: typed dataclasses, filled from a recipe, a TOML file and `--set key=value`, in that order."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import hashlib
import json
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from cloudseg.core.errors import UsageError
from cloudseg.core.recipes import PSEUDO, PSEUDO_STAGE, RECIPES, Stage

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    every_steps: int = 200
    """Maximum number of optimizer steps between two checkpoints; each epoch ends with a checkpoint too."""
    every_minutes: float = 5.0
    """Maximum minutes between two checkpoints."""
    keep: int = 3
    """Number of checkpoints that are kept; older ones are removed when a new one is complete."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """All settings of a run. With the number of ranks they determine the trained weights."""

    LATER: ClassVar[frozenset[str]] = frozenset(
        {"folds", "compression", "train_images", "augment_also", "crop"}
        | {"loss_weights", "label_smoothing", "empty_pairs", "presence_head", "presence_weight"}
        | {"unlabelled", "pseudo_sure", "pseudo_weight"}
    )
    """Fields that were added after the first version; `to_table` omits them at their defaults."""

    data: str
    """Folder of shards that `python -m preprocess` wrote."""
    recipe: str = "paper"
    network: str = "unet-resnet34"
    weights: str = "imagenet"
    """Initial weights of the encoder: "imagenet" (from the weights cache), "none" (random), or the path of a file."""
    batchnorm: bool = True
    """Whether the decoder has BatchNorm layers."""
    precision: str = "float32"
    """"float32", or "mixed": float16 with float32 variables and loss scaling; for GPUs."""
    compression: str = "none"
    """"none", or "fp16": allreduce sends gradients as float16. This halves the bytes and rounds to three digits."""
    loss: str = "bce_dice"
    positive_weight: tuple[float, ...] = ()
    """Weight of positive pixels in the loss weighted_bce; one value for all classes or one per class. Empty: for each
    class the number of negative pixels over the number of positive pixels in the training images."""
    loss_weights: tuple[float, ...] = ()
    """Weights of the two parts of the losses bce_dice and bce_lovasz, for example (0.75, 0.25); empty: their plain
    sum."""
    label_smoothing: float = 0.0
    """Share s, 0 to below 1, by which targets t of the cross-entropy are smoothed, to t (1 - s) + s / 2."""
    empty_pairs: str = "keep"
    """"keep", or "ignore": an image and class without a true pixel has loss 0."""
    presence_head: bool = False
    """Whether the network also predicts, from the encoder's last feature map, which classes are in an image."""
    presence_weight: float = 0.1
    """Weight of the loss of the presence head, which is added to `loss`."""
    batch: int = 8
    """Images per rank and step; the effective batch is this times `accumulate` of the stage."""
    seed: int = 0
    fold: int = 0
    """The validation fold; all other folds train."""
    folds: tuple[int, ...] = ()
    """Validation folds of a cross-validation; each fold has its own run, for example RUN/fold-0."""
    train_images: int = 0
    """Number of training images, chosen by the seed from all of the fold; 0 for all."""
    augment: str = "standard"
    """Augmentation of training images: "none", "flips", "standard" or "strong"."""
    augment_also: tuple[str, ...] = ()
    """Further transforms of training images: "coarse_dropout", "channel_shuffle", "grey", "cutmix"."""
    crop: tuple[int, ...] = ()
    """Height and width of the random crops that train; validation and prediction use whole images. Empty: whole
    images train."""
    checkpoint: Checkpoint = Checkpoint()
    unlabelled: str = ""
    """Folder of pictures without labels, which the stage "pseudo" labels and trains on; empty for none."""
    pseudo_sure: float = 0.9
    """Least confidence, above 0.5 and below 1, of pseudo-labels: of a picture, as the mean over its pixels and classes,
    and of a pixel, in every class. The confidence of a probability p is the larger of p and 1 - p."""
    pseudo_weight: float = 0.5
    """Weight of a picture with pseudo-labels in the loss, times its confidence; images with true labels have 1."""
    stages: tuple[str, ...] = ()
    """Names of the stages in their order; default: those of the recipe, and "pseudo" with `unlabelled`."""
    stage: Mapping[str, Stage] = dataclasses.field(default_factory=dict)

    def labels_pictures(self, stage: str) -> bool:
        """Whether `stage` begins with labelling the pictures of `unlabelled`."""
        return stage == PSEUDO and bool(self.unlabelled)


def resolve(layers: list[tuple[str, Mapping[str, Any]]], default_data: str | None = None) -> Settings:
    """Settings from `layers`: pairs of (source named in errors, nested table). Later layers override earlier ones.

    `default_data` is used if no layer names a data set. Raises UsageError for an unknown key (with the closest valid
    one), a wrong type, an unknown recipe, an unknown stage, or no data set.
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
    if unlabelled := merged.get("unlabelled"):
        merged["unlabelled"] = str(Path(unlabelled).resolve())
        if PSEUDO not in merged["stages"]:
            merged["stages"] = [*merged["stages"], PSEUDO]
    names = merged["stages"]
    if PSEUDO in names:
        merged["stage"] = merge({PSEUDO: dataclasses.asdict(PSEUDO_STAGE)}, merged["stage"])
    for where, layer in layers:
        for stage in layer.get("stage", {}):
            if stage not in names:
                if stage == PSEUDO:
                    raise UsageError(f"{where}: the stage pseudo has no pictures to label; add: --unlabelled DIR")
                raise UsageError(
                    f"{where}: there is no stage {stage!r}{nearest(stage, names)} (`stages` lists them in their order)"
                )
    merged["stage"] = {stage: merged["stage"].get(stage, {}) for stage in names}
    return build(Settings, merged, "settings")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file. Raises UsageError if it does not exist or is not TOML."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from None


def to_table(settings: Settings) -> dict[str, Any]:
    """The settings as the nested table that `run.toml` holds."""
    table = _later_given(dataclasses.asdict(settings), Settings)
    table["stage"] = {name: _later_given(stage, Stage) for name, stage in table["stage"].items()}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in table.items()}


def _later_given(table: Mapping[str, Any], cls: type[Settings] | type[Stage]) -> dict[str, Any]:
    """`table`, of the dataclass `cls`, without the fields of `cls.LATER` that have their default value.

    Digests of runs from before these fields existed stay the same.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(cls) if field.name in cls.LATER}
    return {key: value for key, value in table.items() if key not in defaults or value != defaults[key]}


def current_names(cls: type, table: Mapping[str, Any]) -> dict[str, Any]:
    """`table` with renamed fields under their current names, of `cls` and of its stages.

    `OLD_NAMES` of a dataclass maps earlier names to current ones.
    """
    old = getattr(cls, "OLD_NAMES", {})
    renamed = {old.get(key, key): value for key, value in table.items()}
    if cls is Settings and isinstance(stages := renamed.get("stage"), Mapping):
        renamed["stage"] = {
            name: current_names(Stage, stage) if isinstance(stage, Mapping) else stage for name, stage in stages.items()
        }
    return renamed


def digest(settings: Settings) -> str:
    """sha256 (hex) of the settings, independent of their order.

    Fields are hashed under their first names, so that the digest of a run stays the same when a field is renamed.
    """
    table, first = to_table(settings), {new: old for old, new in Stage.OLD_NAMES.items()}
    table["stage"] = {
        name: {first.get(key, key): value for key, value in stage.items()} for name, stage in table["stage"].items()
    }
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes`; nested tables are merged in the same way."""
    merged = dict(base)
    for key, value in changes.items():
        merged[key] = merge(merged[key], value) if isinstance(value, Mapping) and key in merged else value
    return merged


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"stage": {"full": {"lr": 1}}} -> {"stage.full.lr": 1}."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def differences(old: Settings, new: Settings) -> list[str]:
    """One line for each setting that differs, "key: old -> new"."""
    before, after = flatten(to_table(old)), flatten(to_table(new))
    return [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def build(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """An instance of the dataclass `cls` from a table, which may use earlier field names (see `current_names`).

    `where` names the table in errors. Raises UsageError for an unknown key, a value of a wrong type, or a missing one.
    """
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
    if origin is types.UnionType:  # of a type and None, which TOML cannot hold
        return _value(typing.get_args(hint)[0], value, where)
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
    """End of an error about an unknown word: the closest known word, or all known words if none is close."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names)}"


def parse_assignment(text: str) -> dict[str, Any]:
    """'stage.full.lr=1e-5' -> {"stage": {"full": {"lr": 1e-5}}}; a value that is not TOML is taken as a string.

    Raises UsageError for text without a key or `=`.
    """
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
    """Add the options for settings, of every command that may create a run."""
    group = parser.add_argument_group("settings of the run (its first command fixes them)")
    group.add_argument("--data", metavar="DATA", help="folder of shards (default: $CLOUDSEG_DATA)")
    group.add_argument(
        "--unlabelled", metavar="DIR", help="folder of pictures that the stage pseudo, which this adds, labels"
    )
    group.add_argument("--config", metavar="F.toml", type=Path, help="settings file (default: $CLOUDSEG_CONFIG)")
    group.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="one setting, which overrides the file: --set network=unet-resnet18 --set stage.full.lr=1e-5",
    )


def from_arguments(args: argparse.Namespace) -> list[tuple[str, Mapping[str, Any]]]:
    """The layers for `resolve` from --config, --data, --unlabelled and --set, in this order."""
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if args.config:
        table = read_toml(args.config)
        table.pop("made", None)  # in a run.toml, the versions that the run was started with
        layers.append((str(args.config), table))
    if args.data:
        layers.append(("--data", {"data": args.data}))
    if args.unlabelled:
        layers.append(("--unlabelled", {"unlabelled": args.unlabelled}))
    layers += [(f"--set {text}", parse_assignment(text)) for text in args.set]
    return layers


def from_environment() -> list[tuple[str, Mapping[str, Any]]]:
    """The layers for `resolve` from CLOUDSEG_CONFIG, CLOUDSEG_DATA and CLOUDSEG_SET, which `sbatch jobs/...` uses."""
    environ = argparse.Namespace(
        config=Path(os.environ["CLOUDSEG_CONFIG"]) if os.environ.get("CLOUDSEG_CONFIG") else None,
        data=os.environ.get("CLOUDSEG_DATA"),
        unlabelled=None,
        set=os.environ.get("CLOUDSEG_SET", "").split(),
    )
    return from_arguments(environ)


def toml(table: Mapping[str, Any]) -> str:
    """`table` as the text of a TOML file."""
    import tomli_w  # not for --help

    return tomli_w.dumps(table)
