"""URLs and digests of the published ImageNet weights of encoders, without classifier, for segmentation_models."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Source:
    """A published weights file."""

    url: str
    digest: str
    """md5 or sha256, as the package publishes it. An md5 detects a damaged download, not a forged one."""

    def matches(self, file: Path) -> bool:
        """Whether `file` exists and has the published digest. Raises OSError if it cannot be read."""
        # With OpenSSL in FIPS mode, md5 is available only with usedforsecurity=False.
        algorithm = hashlib.sha256 if len(self.digest) == 64 else functools.partial(hashlib.md5, usedforsecurity=False)
        try:
            with file.open("rb") as handle:
                return hashlib.file_digest(handle, algorithm).hexdigest() == self.digest
        except FileNotFoundError:
            return False


_PUBLISHED = {
    "https://github.com/qubvel/classification_models/releases/download/0.0.1/*_imagenet_1000_no_top.h5": """
        resnet18 318e3ac0cd98d51e917526c9f62f0b50
        resnet34 8caaa0ad39d927cb8ba5385bf945d582
        resnet50 db3b217156506944570ac220086f09b6
        resnet101 1016e7663980d5597a4e224d915c342d
        resnet152 5867b94098df4640918941115db93734
        resnext50 7ade5c8aac9194af79b1724229bdaa50
        resnext101 91fe0126320e49f6ee607a0719828c7e
        seresnet50 043777781b0d5ca756474d60bf115ef1
        seresnet101 1c373b0c196918713da86951d1239007
        seresnet152 f58d4c1a511c7445ab9a2c2b83ee4e7b
        seresnext50 b0f23d2e1cd406d67335fb92d85cc279
        seresnext101 e48708cbe40071cc3356016c37f6c9c7
        senet154 d854ff2cd7e6a87b05a8124cd283e0f2
        seresnet18 a46e5cd4114ac946ecdc58741e8d92ea
        seresnet34 3348fd049f1f9ad307c070ff2b6ec4cb
    """,
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.1/"
    "*_weights_tf_dim_ordering_tf_kernels_notop.h5": """
        vgg16 6d6bbae143d832006294945121d1f1fc
        vgg19 253f8cb515780f3b799900260a226db6
    """,
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.5/"
    "*_weights_tf_dim_ordering_tf_kernels_notop.h5": """
        inception_v3 bcbd6486424b2319ff4ef7d526e38f63
    """,
    "https://github.com/fchollet/deep-learning-models/releases/download/v0.7/"
    "*_weights_tf_dim_ordering_tf_kernels_notop.h5": """
        inception_resnet_v2 d19885ff4a710c122648d3b5c3b684e4
    """,
    "https://github.com/keras-team/keras-applications/releases/download/densenet/"
    "*_weights_tf_dim_ordering_tf_kernels_notop.h5": """
        densenet121 30ee3e1110167f948a6b9946edeeb738
        densenet169 b8c4d4c20dd625c148057b9ff1c1176b
        densenet201 c13680b51ded0fb44dff2d8f86ac8bb1
    """,
    "https://github.com/Callidior/keras-applications/releases/download/efficientnet/"
    "*_weights_tf_dim_ordering_tf_kernels_autoaugment_notop.h5": """
        efficientnet-b0 c1421ad80a9fc67c2cc4000f666aa50789ce39eedb4e06d531b0c593890ccff3
        efficientnet-b1 75de265d03ac52fa74f2f510455ba64f9c7c5fd96dc923cd4bfefa3d680c4b68
        efficientnet-b2 433b60584fafba1ea3de07443b74cfd32ce004a012020b07ef69e22ba8669333
        efficientnet-b3 c5d42eb6cfae8567b418ad3845cfd63aa48b87f1bd5df8658a49375a9f3135c7
        efficientnet-b4 7942c1407ff1feb34113995864970cd4d9d91ea64877e8d9c38b6c1e0767c411
        efficientnet-b5 9d197bc2bfe29165c10a2af8c2ebc67507f5d70456f09e584c71b822941b1952
        efficientnet-b6 1d0923bb038f2f8060faaf0a0449db4b96549a881747b7c7678724ac79f427ed
        efficientnet-b7 60b56ff3a8daccc8d96edfd40b204c113e51748da657afd58034d54d3cec2bac
    """,
}

IMAGENET = {
    name.replace("-", "").replace("_", ""): Source(url.replace("*", name), digest)
    for url, rows in _PUBLISHED.items()
    for name, digest in (row.split() for row in rows.strip().splitlines())
}
"""Sources by encoder. mobilenet and mobilenetv2 are missing, as no digest of their weights is published."""
