"""The machine: device, threads, seeds, signals, files, process group."""
