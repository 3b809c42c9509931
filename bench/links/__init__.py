"""The model of many GPUs beside what Horovod takes over links of a given speed."""
