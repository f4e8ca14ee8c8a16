#!/usr/bin/env bash
# One machine, a rank for each core:   examples/one-machine.sh [OPTIONS of train…]
#
# A rank that dies makes all of them start again, three times at most, from the last checkpoint.
# Run again after a stop (exit code 130 or 143), this goes on; name another --output to begin anew.
# RANKS=4 starts four ranks, which share out the cores.
set -euo pipefail

export MNIST_BATCH_SIZE="${MNIST_BATCH_SIZE-256}"  # a --batch-size or --mode batch comes first
exec python -m mnist_cli.cli.torchrun \
  --standalone \
  --nproc-per-node "${RANKS:-$(getconf _NPROCESSORS_ONLN)}" \
  --max-restarts 3 \
  -m mnist_cli train \
  --save-every 100 --resume auto "$@"
