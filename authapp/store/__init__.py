"""The store: strings that requests of all threads and processes share for a limited time.

This package stores the strings, shares them between processes, and writes them again if Redis loses
them. Only the callers, such as :mod:`authapp.renewal`, know what the strings mean.
"""
