"""TensorRT: the engine for NVIDIA GPUs, in fp16, with the whole frame on the GPU.

    library.py     which TensorRT is installed
    typed_onnx.py  fp32 ONNX -> strongly typed fp16 ONNX        fp16.py  which layers fp16 can't hold
    builder.py     ONNX -> plan                                 plan.py  the plan cache: key, sidecar, lock
    inspector.py   what a plan really holds                     jit_cache.py  what RTX compiles when a plan is opened
    kernels.py     compiles kernels.cu; its arguments           driver.py, gpu.py  the CUDA driver and pycuda
    memory.py      what frames need, taken once                 tiling.py  tiles of pixels for the second kernel
    frame_path.py  camera bytes -> labels for one frame layout  engine.py  the engine that the segmenter drives
"""
