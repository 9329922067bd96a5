"""Float operators between kernels: into the kernel before them, or on a schedule of their own."""
