"""What an ARM processor would take: instructions counted under qemu, and cycles estimated from them."""
