"""Networks that ship in public packages: fetching them, inputs for them, what their results mean, and trying one."""
