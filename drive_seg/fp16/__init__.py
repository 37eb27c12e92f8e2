"""The fp16 version of a network, which TensorRT runs: written beside the fp32 one when that is exported (needs onnx).

`python3 -m drive_seg.fp16 NAME.onnx` writes NAME.fp16.onnx for a network that was exported elsewhere.
"""

STAYS_FP32 = ".fp32"
"""Part of the names of layers that stay fp32, so that it can be told from fp32 that got in unasked."""
