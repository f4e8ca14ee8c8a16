"""Exports: ONNX, safetensors and a page to draw on."""
