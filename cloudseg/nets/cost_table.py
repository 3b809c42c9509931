"""Cost of the layers of networks, read from `cost_table.json`. No TensorFlow, so that plans are quick.

`make costs` computes the table from the networks (`cloudseg.nets.count_cost`); tests compare it with them.
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
    """Cost of a layer with weights, for images of any size whose sides are multiples of 32."""

    parameters: int
    """Number of trainable parameters."""
    statistics: int
    """Number of moving statistics; above 0 for BatchNorm only."""
    flops_per_pixel: float
    """FLOPs of the forward pass per pixel of the image; a multiply-add counts as 2."""
    flops_per_image: float
    """FLOPs of the forward pass per image, for layers whose input has a fixed size, as after global pooling."""

    def flops(self, size: tuple[int, int]) -> float:
        """FLOPs of the forward pass of one image of `size` (height, width)."""
        return self.flops_per_pixel * size[0] * size[1] + self.flops_per_image


@dataclasses.dataclass(frozen=True)
class NetworkRows:
    """Rows of the layers with weights, in the order of the model: first the encoder's, then the decoder's."""

    encoder: tuple[Row, ...]
    decoder: tuple[Row, ...]


def network(name: str, batchnorm: bool = True) -> NetworkRows:
    """Return the rows of the network `name`; `batchnorm` says whether its decoder has BatchNorm.

    Raises UsageError for an unknown name, or a name that the table lacks.
    """
    _, encoder = names.parse(name)
    table = _load()
    if name not in table["networks"]:
        raise UsageError(
            f"network: {FILE} does not say what the layers of {name!r} cost; type: make costs NETWORKS={name}"
        )
    entry = table["networks"][name]
    decoder = entry["decoder"] if batchnorm else entry.get("decoder_without_batchnorm", entry["decoder"])
    return NetworkRows(_decode(table["encoders"][encoder])[: entry["encoder_layers"]], _decode(decoder))


def layers(
    name: str, size: tuple[int, int], batchnorm: bool = True, share: float = 1.0, train_bn: bool = False
) -> list[Layer]:
    """Return the layers of the network `name` for images of `size` (height, width), in the order of the model.

    `share` and `train_bn` select the layers that train, as in `freeze.freeze`. Raises UsageError as `network` does, and
    for a size that the network does not take.
    """
    names.require_size(name, size)
    table = network(name, batchnorm)
    rows = (*table.encoder, *table.decoder)
    parts = [
        freeze.Part(str(index), row.parameters + row.statistics, index < len(table.encoder), row.statistics > 0)
        for index, row in enumerate(rows)
    ]
    _, trains = freeze.choose(parts, share, train_bn, freeze.block_starts(names.parse(name)[1]))
    return [
        Layer(row.flops(size), row.parameters, row.statistics, trained)
        for row, trained in zip(rows, trains, strict=True)
    ]


def text(networks: dict[str, tuple[NetworkRows, NetworkRows]]) -> str:
    """Render the text of the file. `networks`: for each name, its rows with and without BatchNorm in the decoder.

    An encoder is written once; networks may use only its first layers. Raises ValueError if the layers of a network's
    encoder are not the first layers of that encoder.
    """
    encoders: dict[str, tuple[Row, ...]] = {}
    for name, (with_batchnorm, _) in networks.items():
        encoder = names.parse(name)[1]
        encoders[encoder] = max(encoders.get(encoder, ()), with_batchnorm.encoder, key=len)
    rows: dict[str, Any] = {}
    for name, (with_batchnorm, without) in networks.items():
        count = len(with_batchnorm.encoder)
        if not with_batchnorm.encoder == without.encoder == encoders[names.parse(name)[1]][:count]:
            raise ValueError(f"{name}: its encoder's layers are not the first of those of other networks")
        rows[name] = {"encoder_layers": count, "decoder": _encode(with_batchnorm.decoder)}
        if without.decoder != with_batchnorm.decoder:
            rows[name]["decoder_without_batchnorm"] = _encode(without.decoder)
    columns = ["layers alike", *(field.name for field in dataclasses.fields(Row))]
    parts = {"encoders": {name: _encode(each) for name, each in encoders.items()}, "networks": rows}
    lines = [f'"columns": {json.dumps(columns)}']
    for part, content in parts.items():
        inner = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in content.items())
        lines.append(f'"{part}": {{\n{inner}\n}}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def known() -> list[str]:
    """Names of the networks in the table."""
    return list(_load()["networks"])


@functools.cache
def _load() -> dict[str, Any]:
    return json.loads(FILE.read_text())


def _decode(encoded: Iterable[Sequence[float]]) -> tuple[Row, ...]:
    return tuple(
        Row(int(parameters), int(statistics), per_pixel, per_image)
        for repeats, parameters, statistics, per_pixel, per_image in encoded
        for _ in range(int(repeats))
    )


def _encode(rows: Sequence[Row]) -> list[list[float]]:
    """Run-length encode rows: equal neighbours, as the parts of a grouped convolution, become one row with a count."""
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
