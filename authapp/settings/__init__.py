"""The settings: an ini file becomes one frozen value, and all problems are reported at once.

This package decides which keys exist and which values each key may have. It does not know what the
values are used for.
"""
