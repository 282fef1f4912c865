"""The store: what requests must know of each other, for a while.

It decides how texts are kept, shared by processes, and recovered when Redis loses them. It does
not know what they mean: renewal and revocation do.
"""
