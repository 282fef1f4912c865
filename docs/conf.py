"""Sphinx: the documentation in build/docs. Run `make docs`."""

from authapp.version import __version__

project = "authapp"
release = version = __version__
html_title = f"authapp {release}"

suppress_warnings = ["misc.highlighting_failure"]  # Pygments knows no JSX
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_*"]
highlight_language = "none"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_copy_source = False
html_show_copyright = False
html_extra_path = ["openapi.yaml"]

myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "all"
autodoc_preserve_defaults = True
nitpicky = True
# This documentation does not describe these names. They belong to other projects, or are inside
# authapp. The build has no network, so it reads no inventory of other projects.
nitpick_ignore_regex = [
    ("py:.*", r"(pyramid|requests|zope|webob|translationstring|collections)\..*|Future"),
    ("py:.*", r"SessionTooLarge|MAX_STATE"),
    ("py:.*", r"authapp\.(backend|session|settings|web|renewal|services|start_up|testing)\b.*"),
]
