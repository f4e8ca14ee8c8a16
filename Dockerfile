# docker build -t mnist_cli .
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" mnist_cli mnist-train --batch-size 64
FROM python:3.11-slim

# The small build of PyTorch, for processors; an empty TORCH_INDEX takes the one for CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

COPY pyproject.toml README.md LICENSE constraints.txt /src/
COPY configs /src/configs
COPY mnist_cli /src/mnist_cli
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    -c /src/constraints.txt /src \
    && rm -rf /src

# Whoever runs it need not be root: what is written, data and checkpoints, goes to the mounted folder.
RUN useradd --create-home mnist && install -d -o mnist /work
USER mnist
WORKDIR /work
CMD ["mnist-train", "--help"]
