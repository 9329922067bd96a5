"""Parts of a method of quantization, one by one."""
