"""The site: pages in Markdown, a gallery that is executed, and the reference from the docstrings."""

import os
from importlib.metadata import version as version_of

os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "jaxpot"
author = "the authors of jaxpot"
copyright = author
release = version = version_of("jaxpot")

extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx_copybutton", "sphinx_gallery.gen_gallery",
]  # fmt: skip
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
default_role = "code"  # docstrings mark code by single backticks
autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings give shapes and units, signatures the names
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "tree_flatten, tree_unflatten"}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype = False
templates_path = ["_templates"]
exclude_patterns = ["_build", "gallery/*.md"]
suppress_warnings = ["config.cache"]

html_theme = "furo"
html_title = "jaxpot"
sphinx_gallery_conf = {
    "examples_dirs": "gallery", "gallery_dirs": "auto_gallery", "filename_pattern": r"/plot_", "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey", "show_memory": False, "abort_on_example_error": True, "plot_gallery": True,
}  # fmt: skip
