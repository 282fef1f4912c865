"""Renewal: spend each refresh token once, and let sign-out win.

It decides who calls the backend for a session, who waits, and what the answer means for the
session. It does not know of cookies, requests or pages.
"""
