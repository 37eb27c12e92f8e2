"""The fp16 version of a network, which TensorRT runs: written beside the fp32 one when that is exported (needs onnx).

`python3 -m drive_seg.fp16 NAME.onnx` writes NAME.fp16.onnx for a network that was exported elsewhere.
"""
