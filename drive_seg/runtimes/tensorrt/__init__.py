"""TensorRT: the engine for NVIDIA GPUs, in fp16, with the whole frame on the GPU.

    engine.py      the engine that the segmenter drives         frame_path.py  camera bytes -> labels, one or several
    kernels.cu     the kernels; compiled/ has them as they ship kernels.py     loads them, or has NVRTC compile them
    intake.py      which bytes of a frame each block reads      gpu.py         one GPU, and all that is taken on it
    builder.py     ONNX -> plan, in a process of its own        plan.py        the plan cache: key, sidecar
    runner.py      a plan, ready to run                         library.py     which TensorRT is installed

runtimes/cuda_driver.py calls CUDA, by pycuda or cuda-bindings; drive_seg/fp16 writes the network that runs here, at
export; drive_seg/gpu_check measures and checks all this on a GPU.
"""
