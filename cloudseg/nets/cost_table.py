"""What the layers of every known network cost, from `cost_table.json`: no TensorFlow, so that plans are quick.

`make costs` writes the table from the networks themselves (`cloudseg.nets.count_cost`), and tests hold it against them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cloudseg.core.errors import UsageError
from cloudseg.nets import freeze, names
from cloudseg.nets.layer_cost import Layer

FILE = Path(__file__).with_name("cost_table.json")


@dataclasses.dataclass(frozen=True)
class Row:
    """A layer with weights, for images of any size whose sides are multiples of 32."""

    parameters: int
    """As `Layer.parameters`."""
    statistics: int
    """As `Layer.statistics`; above 0 for BatchNorm alone."""
    flops_per_pixel: float
    """As `Layer.flops`, of each pixel of the image."""
    flops_per_image: float
    """As `Layer.flops`, of layers that see as many numbers whatever the size of the image, as after global pooling."""

    def flops(self, size: tuple[int, int]) -> float:
        """Of one image of `size` (height, width)."""
        return self.flops_per_pixel * size[0] * size[1] + self.flops_per_image


@dataclasses.dataclass(frozen=True)
class NetworkRows:
    """Layers with weights, in the order of the model: first the encoder's, then the decoder's."""

    encoder: tuple[Row, ...]
    decoder: tuple[Row, ...]


def network(name: str, batchnorm: bool = True) -> NetworkRows:
    """The rows of the network `name`; `batchnorm` is the decoder's, see `models.build`.

    Raises UsageError for an unknown name, or one that the table lacks.
    """
    _, encoder = names.parse(name)
    table = _load()
    if name not in table["networks"]:
        raise UsageError(
            f"network: {FILE} does not say what the layers of {name!r} cost; type: make costs NETWORKS={name}"
        )
    found = table["networks"][name]
    decoder = found["decoder"] if batchnorm else found.get("decoder_without_batchnorm", found["decoder"])
    return NetworkRows(_read(table["encoders"][encoder])[: found["encoder_layers"]], _read(decoder))


def layers(
    name: str, size: tuple[int, int], batchnorm: bool = True, share: float = 1.0, train_bn: bool = False
) -> list[Layer]:
    """The layers of the network `name` for images of `size` (height, width), in the order of the model.

    `share` and `train_bn` choose what trains, as in `freeze.freeze`. Raises UsageError as `network` does, and for a
    size that the network cannot have.
    """
    names.require_size(name, size)
    found = network(name, batchnorm)
    rows = (*found.encoder, *found.decoder)
    parts = [
        freeze.Part(str(index), row.parameters + row.statistics, index < len(found.encoder), row.statistics > 0)
        for index, row in enumerate(rows)
    ]
    _, trains = freeze.choose(parts, share, train_bn)
    return [
        Layer(row.flops(size), row.parameters, row.statistics, trained)
        for row, trained in zip(rows, trains, strict=True)
    ]


def text(networks: dict[str, tuple[NetworkRows, NetworkRows]]) -> str:
    """The file's text; `networks` by name, with BatchNorm in the decoder and without.

    Raises ValueError if the layers of an encoder differ between networks in more than how many of the first there are.
    """
    encoders: dict[str, tuple[Row, ...]] = {}
    for name, each in networks.items():
        encoder = names.parse(name)[1]
        encoders[encoder] = max(encoders.get(encoder, ()), each[0].encoder, key=len)
    rows: dict[str, Any] = {}
    for name, (with_batchnorm, without) in networks.items():
        count = len(with_batchnorm.encoder)
        if not with_batchnorm.encoder == without.encoder == encoders[names.parse(name)[1]][:count]:
            raise ValueError(f"{name}: its encoder's layers are not the first of those of other networks")
        rows[name] = {"encoder_layers": count, "decoder": _written(with_batchnorm.decoder)}
        if without.decoder != with_batchnorm.decoder:
            rows[name]["decoder_without_batchnorm"] = _written(without.decoder)
    columns = ["layers alike", *(field.name for field in dataclasses.fields(Row))]
    parts = {"encoders": {name: _written(each) for name, each in encoders.items()}, "networks": rows}
    lines = [f'"columns": {json.dumps(columns)}']
    for part, content in parts.items():
        inner = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items())
        lines.append(f'"{part}": {{\n{inner}\n}}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def known() -> list[str]:
    """The names of the networks in the table."""
    return list(_load()["networks"])


@functools.cache
def _load() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def _read(written: Iterable[Sequence[float]]) -> tuple[Row, ...]:
    return tuple(
        Row(int(parameters), int(statistics), per_pixel, per_image)
        for alike, parameters, statistics, per_pixel, per_image in written
        for _ in range(int(alike))
    )


def _written(rows: Sequence[Row]) -> list[list[float]]:
    """Neighbours that are alike, as the many small convolutions of a grouped one, are one row with their number."""
    out: list[list[float]] = []
    for row in rows:
        values = [row.parameters, row.statistics, _short(row.flops_per_pixel), _short(row.flops_per_image)]
        if out and out[-1][1:] == values:
            out[-1][0] += 1
        else:
            out.append([1, *values])
    return out


def _short(number: float) -> float:
    return int(number) if number == int(number) else number
