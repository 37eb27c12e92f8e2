"""TensorRT: the engine for NVIDIA GPUs, in fp16, with the whole frame on the GPU.

    engine.py      the engine that the segmenter drives         frame_path.py  camera bytes -> labels, for one layout
    intake.py      which bytes of a frame the kernels read      memory.py      what frames need, taken once
    kernels.cu     the kernels; kernels.py loads them           tiling.py      tiles of pixels, one a block of threads
    compiled/      the kernels as they ship                     nvrtc.py       compiles them where none of these fits
    gpu.py         memory, stream and graphs of one GPU         backends.py    pycuda or cuda-bindings beneath it
    driver.py      the CUDA driver: is there a GPU, and which   library.py     which TensorRT is installed
    builder.py     the plan, from the cache or by build.py      build.py       ONNX -> plan, in a process of its own
    plan.py        the plan cache: key, sidecar, lock           runner.py      a plan, ready to run

drive_seg/fp16 writes the network that it runs, at export; drive_seg/gpu_check measures and checks all this on a GPU.
"""
