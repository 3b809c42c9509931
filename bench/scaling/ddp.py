"""Baseline in PyTorch: segmentation_models_pytorch's networks with DistributedDataParallel over Gloo."""

from __future__ import annotations

import os

import segmentation_models_pytorch as smp
import torch
from torch.nn.parallel import DistributedDataParallel

from bench.contender import Measure
from bench.scaling.batch import images_and_masks
from bench.scaling.job import Job, pin, rate
from bench.training import RATE


def contender(job: Job) -> Measure:
    torch.set_num_threads(pin(job))
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job.ports[0])}
    torch.distributed.init_process_group("gloo", rank=job.rank, world_size=job.ranks)
    decoder, _, encoder = job.network.partition("-")
    model = {"unet": smp.Unet, "linknet": smp.Linknet}[decoder](encoder, encoder_weights=None, classes=4)
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(job.encoder > 0)
    model = DistributedDataParallel(model.to(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=RATE)
    images, masks = images_and_masks(job)
    inputs = torch.from_numpy(images).permute(0, 3, 1, 2)
    bits = torch.from_numpy(masks)
    targets = torch.stack([(bits >> c) & 1 for c in range(4)], dim=1).float()
    overlap = smp.losses.DiceLoss("multilabel", smooth=1.0)
    entropy = torch.nn.BCEWithLogitsLoss()

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        logits = model((inputs.float() / 127.5 - 1.0).contiguous(memory_format=torch.channels_last))
        loss = entropy(logits, targets) + overlap(logits, targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return lambda: rate(job, step)
