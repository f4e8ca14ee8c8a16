"""A checkpoint's network for other programs: ONNX, safetensors, a page to draw on."""
