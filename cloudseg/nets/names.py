"""Names of networks, losses and precisions, without TensorFlow, so that a wrong name fails at launch."""

from __future__ import annotations

import math

from cloudseg.core.config import nearest
from cloudseg.core.errors import UsageError
from cloudseg.data import image_size

OWN = ("vanilla",)
"""Networks defined in this package, each in a module of its name; they have no published weights."""
DECODERS = ("unet", "linknet", "fpn", "pspnet", "fcn", "segnet", "deeplabv3plus", "adlinknet")
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
"""Height and width of images are multiples of this, for decoders that need more than the 32 of every network."""
LEAST_SIDE = {"inceptionv3": 75, "inceptionresnetv2": 75}
"""Minimum height and width of images, for encoders that need more than 32 (as Keras has it)."""
FIXED_SIZE = ("pspnet",)
"""Decoders whose layers depend on the size of the images: they cannot train on crops and predict whole images."""
LOSSES = ("bce", "dice", "bce_dice", "weighted_bce", "focal", "lovasz", "bce_lovasz")
SUMS = ("bce_dice", "bce_lovasz")
"""Losses that are a sum of two parts, of which the first is a cross-entropy."""
CROSS_ENTROPIES = ("bce", "weighted_bce", *SUMS)
"""Losses with a cross-entropy, in which labels may be smoothed."""
EMPTY_PAIRS = ("keep", "ignore")
"""What a loss does with an image and class without a true pixel."""
PRECISIONS = ("float32", "mixed")
COMPRESSIONS = ("none", "fp16")


def parse(name: str) -> tuple[str, str]:
    """Split 'unet-resnet34' into ('unet', 'resnet34'); a name of `OWN` is returned twice.

    Raises UsageError, with the nearest name, for an unknown one.
    """
    if name in OWN:
        return name, name
    decoder, _, encoder = name.partition("-")
    if decoder not in DECODERS or encoder not in ENCODERS:
        known = [*OWN, *(f"{d}-{e}" for d in DECODERS for e in ENCODERS)]
        hint = nearest(name, known)
        if not hint.startswith("; did"):
            hint = f"; give {', '.join(OWN)} or DECODER-ENCODER, of {', '.join(DECODERS)} and {', '.join(ENCODERS)}"
        raise UsageError(f"network: there is no {name!r}{hint}")
    return decoder, encoder


def require_size(name: str, size: tuple[int, int]) -> None:
    """Raises UsageError, with what to type, if the network `name` does not take images of `size` (height, width)."""
    decoder, encoder = parse(name)
    stride = STRIDE.get(decoder, 1)
    if any(side % stride for side in size):
        step = math.lcm(stride, image_size.STRIDE)
        nearest_size = "x".join(str(max(step, step * round(side / step))) for side in size)
        raise UsageError(
            f"network: {name} takes images whose height and width are multiples of {stride}, not {size[0]}x{size[1]}; "
            f"make the shards at another size: --size {nearest_size}, or choose another network, as: "
            f"--set network=unet-{encoder}"
        )
    if min(size) < (least := LEAST_SIDE.get(encoder, 0)):
        larger = "x".join(str(image_size.STRIDE * math.ceil(max(side, least) / image_size.STRIDE)) for side in size)
        raise UsageError(
            f"network: the encoder of {name} takes images of at least {least}x{least}, not {size[0]}x{size[1]}; make "
            f"the shards at another size: --size {larger}, or choose another network, as: "
            f"--set network={decoder}-resnet34"
        )


def require_any_size(name: str) -> None:
    """Raises UsageError, with what to type, if the network `name` takes images of only the size it is built for."""
    decoder, encoder = parse(name)
    if decoder in FIXED_SIZE:
        raise UsageError(
            f"crop: {name} takes images of one size only, so it cannot train on crops and predict whole images; add "
            f"--set network=unet-{encoder}, or --set crop=[]"
        )
