"""The site: pages in Markdown, a gallery that is executed, and the reference from the docstrings."""

import dataclasses
import inspect
import os
import re
from importlib.metadata import version as version_of
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

project = "jaxpot"
author = "the authors of jaxpot"
copyright = author
release = version = version_of("jaxpot")

extensions = [
    "myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx_copybutton",
    "sphinx_gallery.gen_gallery", "sphinx-mathjax-offline",
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
exclude_patterns = ["_build", "gallery"]
suppress_warnings = ["config.cache"]


def _kept_figures(block, block_vars, gallery_conf):
    """Figures that a script keeps in a variable, such as those of `fit.plot_parity`, which pyplot does not know."""
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    figures = [value for value in block_vars["example_globals"].values() if isinstance(value, Figure) and not hasattr(value, "number")]
    paths = [next(block_vars["image_path_iterator"]) for _ in figures]
    for figure, path in zip(figures, paths, strict=True):
        figure.savefig(path)
    return figure_rst(paths, gallery_conf["src_dir"])


html_theme = "furo"
html_title = "jaxpot"
sphinx_gallery_conf = {
    "examples_dirs": "gallery", "gallery_dirs": "auto_gallery", "filename_pattern": r"/plot_", "remove_config_comments": True,
    "within_subsection_order": "FileNameSortKey", "show_memory": False, "abort_on_example_error": True, "plot_gallery": True,
    "ignore_repr_types": "matplotlib", "image_scrapers": ("matplotlib", _kept_figures),
}  # fmt: skip


def _escaped(app, what, name, obj, options, lines):
    """Docstrings are written for people: bars and trailing underscores in their text are no markup."""
    in_math = False
    for i, line in enumerate(lines):
        in_math = line.lstrip().startswith(".. math::") or (in_math and (not line.strip() or line.startswith("   ")))
        if in_math or line.lstrip().startswith((">>>", "...")):
            continue
        parts = line.split("`")
        parts[::2] = [re.sub(r"(?<=\w)_(?=[^\w]|$)", r"\\_", part.replace("|", r"\|")) for part in parts[::2]]
        lines[i] = "`".join(parts)


def _once(app, what, name, obj, skip, options, seen={}):  # noqa: B006 - what has been documented
    """What two namespaces have is documented in the first of them, and what is not jaxpot's nowhere."""
    if not str(getattr(obj, "__module__", "jaxpot")).startswith("jaxpot"):
        return True
    place = app.env.current_document.docname if hasattr(app.env, "current_document") else app.env.docname
    if not place:  # autosummary, which looks for what there is before any page is read
        return skip
    if name == "replace":  # of every class the same
        return seen.setdefault(name, place) != place
    return skip or (inspect.isclass(obj) and "." not in name and seen.setdefault(id(obj), place) != place)


def _fields(app, what, name, obj, options, signature, annotation):
    """The signature of a class is its fields with their defaults, not that of the interface's `__new__`."""
    if what != "class" or not dataclasses.is_dataclass(obj):
        return None
    found = inspect.signature(obj)
    bare = [field.replace(annotation=field.empty) for field in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=found.empty)).replace("<factory>", "..."), None


def _counted(app, docname, source):
    """Beside the time that a job of the gallery takes, the lines of code that it has."""
    if docname.startswith("auto_gallery/plot_"):
        text = Path(app.srcdir, "gallery", Path(docname).name + ".py").read_text()
        code = [line for line in text.split('"""', 2)[2].splitlines() if line.strip() and not line.lstrip().startswith("#")]
        note = f"   **Lines of code:** {len(code)} (blank lines, comments and the text at the top do not count)\n\n"
        source[0] = source[0].replace("   **Total running time", note + "   **Total running time")


def _configuration(app):
    """The reference of configurations, from the same classes as `jaxpot schema`."""
    from jaxpot.io.schema import schema
    from jaxpot.io.schema_page import page

    path, text = Path(app.srcdir, "generated", "configuration.md"), page(schema())
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def setup(app):
    app.connect("builder-inited", _configuration)
    app.connect("autodoc-process-docstring", _escaped)
    app.connect("autodoc-skip-member", _once)
    app.connect("autodoc-process-signature", _fields)
    app.connect("source-read", _counted)
