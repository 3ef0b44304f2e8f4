"""What the benchmarks share: the machine, the cities and their keys, vouchers, books made in bulk."""
