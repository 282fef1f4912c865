"""The store: strings that requests of all threads and processes share for a limited time.

This package stores the strings, shares them between processes, and writes them again if Redis loses
them. The package does not interpret the strings. The callers interpret them, for example
:mod:`authapp.renewal`.
"""
