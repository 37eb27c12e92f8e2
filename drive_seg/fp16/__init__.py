"""The versions of a network that TensorRT runs, fp16 and int8: written beside it when it is exported (needs onnx).

`python3 -m drive_seg.fp16 NAME.onnx` writes them for a network that was exported elsewhere.
"""
