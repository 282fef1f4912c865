"""Renewal and revocation of sessions.

Each refresh token is spent once, and no renewal restores a session that was signed out. This
package decides which request calls the backend, which requests wait, and what the response means
for the session. It does not know cookies, requests or pages.
"""
