"""Benchmarks of authapp and of other packages, measured side by side in one run (``make
bench``)."""
