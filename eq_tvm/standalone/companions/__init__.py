"""Templates of what comes with a standalone library: for C++, Python, CMake and pkg-config."""
