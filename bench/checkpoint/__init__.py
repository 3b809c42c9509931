"""What checkpoints cost: saving beside the disk's raw write speed, training with them beside training without."""
