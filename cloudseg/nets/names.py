"""What networks and losses are called; without TensorFlow, so that a wrong name fails at launch."""

from __future__ import annotations

import math

from cloudseg.core.config import nearest
from cloudseg.core.errors import UsageError
from cloudseg.data import image_size

OWN = ("vanilla",)
"""Networks of our own, each a module beside this one; they have no published weights."""
DECODERS = ("unet", "linknet", "fpn", "pspnet")
ENCODERS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "seresnet18", "seresnet34", "seresnet50", "seresnet101", "seresnet152",
    "resnext50", "resnext101", "seresnext50", "seresnext101", "senet154",
    "vgg16", "vgg19", "densenet121", "densenet169", "densenet201",
    "inceptionv3", "inceptionresnetv2", "mobilenet", "mobilenetv2",
    "efficientnetb0", "efficientnetb1", "efficientnetb2", "efficientnetb3",
    "efficientnetb4", "efficientnetb5", "efficientnetb6", "efficientnetb7",
)  # fmt: skip
STRIDE = {"pspnet": 48}
"""Height and width of images are multiples of this, of decoders that want another one than the 32 of all sizes."""
LOSSES = ("bce", "dice", "bce_dice", "weighted_bce")
PRECISIONS = ("float32", "mixed")
COMPRESSIONS = ("none", "fp16")


def parse(name: str) -> tuple[str, str]:
    """'unet-resnet34' -> ('unet', 'resnet34'); one of `OWN` is both. Raises UsageError with the nearest name."""
    if name in OWN:
        return name, name
    decoder, _, encoder = name.partition("-")
    if decoder not in DECODERS or encoder not in ENCODERS:
        known = [*OWN, *(f"{d}-{e}" for d in DECODERS for e in ENCODERS)]
        hint = nearest(name, known)
        if not hint.startswith("; did"):
            hint = f"; it is {', '.join(OWN)}, or DECODER-ENCODER, of {', '.join(DECODERS)} and {', '.join(ENCODERS)}"
        raise UsageError(f"network: there is no {name!r}{hint}")
    return decoder, encoder


def require_size(name: str, size: tuple[int, int]) -> None:
    """Raises UsageError, with what to type, if the network `name` cannot take images of `size` (height, width)."""
    decoder, encoder = parse(name)
    stride = STRIDE.get(decoder, 1)
    if any(side % stride for side in size):
        step = math.lcm(stride, image_size.STRIDE)
        nearby = "x".join(str(max(step, step * round(side / step))) for side in size)
        raise UsageError(
            f"network: {name} takes images whose height and width are multiples of {stride}, not {size[0]}x{size[1]}; "
            f"make the shards at another size: --size {nearby}, or choose another network, as: "
            f"--set network=unet-{encoder}"
        )
