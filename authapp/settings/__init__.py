"""The settings: an ini file becomes one frozen value, and all problems are reported at once.

It decides which keys exist and what each may hold. It does not know what the values are used
for.
"""
