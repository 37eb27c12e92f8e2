"""What `make gpu-check` runs: everything that only a machine with an NVIDIA GPU can prove, in one command."""
