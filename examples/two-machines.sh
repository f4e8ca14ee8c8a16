#!/usr/bin/env bash
# Two machines. On the first one, and on the second, in any order within ten minutes:
#
#   examples/two-machines.sh ADDRESS 0 [OPTIONS of train…]
#   examples/two-machines.sh ADDRESS 1 [the same OPTIONS…]
#
# ADDRESS is the first machine's, as the second one reaches it; an IP address is safest.
# RANKS (2) is the number of ranks on each machine, PORT (29400) that of the rendezvous. Other ports
# are chosen at random, so no firewall may block them between the two machines; from all others it must
# (see SECURITY.md). If /etc/hosts maps the name of a machine to a
# loopback address, set GLOO_SOCKET_IFNAME=eth0 to its network interface.
#
# Rank 0, which writes the output, is on the machine whose address sorts first as text. A restart
# resumes from the file that either machine has; to survive the loss of that machine, name an
# --output in a folder that both share.
set -euo pipefail

usage="usage: two-machines.sh ADDRESS 0|1 [OPTIONS of train...]"
address=${1:?$usage}
node=${2:?$usage}
shift 2
echo "Waiting for the other machine at $address:${PORT:-29400}" >&2

# The address of this machine as the first one sees it: the other may not resolve its name.
own=$(python -c '
import socket, sys
way = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
way.connect((sys.argv[1], 9))
print(way.getsockname()[0])' "$address")

export MNIST_BATCH_SIZE="${MNIST_BATCH_SIZE-256}"  # --batch-size or --mode batch override it
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
