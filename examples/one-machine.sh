#!/usr/bin/env bash
# One machine, a rank for each core:   examples/one-machine.sh [OPTIONS of train…]
#
# If a rank dies, all restart from the last checkpoint, at most three times. After a stop (exit code
# 130 or 143) the same command resumes; name another --output to start a new training.
# RANKS=4 starts four ranks, which divide the cores between them.
set -euo pipefail

export MNIST_BATCH_SIZE="${MNIST_BATCH_SIZE-256}"  # --batch-size or --mode batch override it
exec python -m mnist_cli.cli.torchrun \
  --standalone \
  --nproc-per-node "${RANKS:-$(getconf _NPROCESSORS_ONLN)}" \
  --max-restarts 3 \
  -m mnist_cli train \
  --save-every 100 --resume auto "$@"
