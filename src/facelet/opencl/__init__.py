"""Graph -> OpenCL program -> session on a device."""
