#!/usr/bin/env bash
# Two machines. On the first one, and on the second, in any order within ten minutes:
#
#   examples/two-machines.sh ADDRESS 0 [OPTIONS of train…]
#   examples/two-machines.sh ADDRESS 1 [the same OPTIONS…]
#
# ADDRESS is the first machine's, as the second one reaches it; an IP address is safest.
# RANKS (2) is the number of ranks on each machine, PORT (29400) is where they meet; further ports
# are chosen freely, so no firewall may stand between the two. Where a machine's name stands for a
# loopback address in its /etc/hosts, GLOO_SOCKET_IFNAME=eth0 says which interface to use.
#
# The rank that writes the output is on the machine whose address comes first as text, whichever that
# is. A restart goes on from the file that either machine has; if the one that has it may be lost for
# good, name an --output in a folder that both share.
set -euo pipefail

usage="usage: two-machines.sh ADDRESS 0|1 [OPTIONS of train...]"
address=${1:?$usage}
node=${2:?$usage}
shift 2
echo "Waiting for the other machine at $address:${PORT:-29400}" >&2

# This machine's own address on the way to the first: its name may mean nothing to the other one.
own=$(python -c '
import socket, sys
way = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
way.connect((sys.argv[1], 9))
print(way.getsockname()[0])' "$address")

export MNIST_BATCH_SIZE="${MNIST_BATCH_SIZE-256}"  # a --batch-size or --mode batch comes first
exec python -m mnist_cli.cli.torchrun \
  --nnodes 2 \
  --nproc-per-node "${RANKS:-2}" \
  --max-restarts 3 \
  --rdzv-backend c10d \
  --rdzv-id mnist \
  --rdzv-endpoint "$address:${PORT:-29400}" \
  --rdzv-conf "is_host=$((node == 0)),read_timeout=600" \
  --local-addr "$own" \
  -m mnist_cli train \
  --save-every 100 --resume auto "$@"
