"""Sphinx settings: ``make docs`` builds the site without a network."""

import os
import re
import sys
from pathlib import Path

import matplotlib as mpl
from sklearn.datasets import fetch_olivetti_faces
from sphinx_gallery.sorting import ExplicitOrder

from opnmf_pipeline import __version__

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "scripts")]

project = "opnmf-pipeline"
author = "The opnmf-pipeline developers"
copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinxarg.ext",
    "reference_tables",
]
exclude_patterns = ["_build", "_templates", "examples"]
default_role = "py:obj"  # the role of names in backticks in docstrings
smartquotes = False  # keeps the two hyphens of an option

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "none"  # the docstrings contain types and shapes
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False
templates_path = ["_templates"]

html_theme = "furo"
html_title = f"opnmf-pipeline {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
copybutton_exclude = ".linenos, .gp, .go"


def _faces_are_here() -> bool:
    """Return whether scikit-learn has the Olivetti faces or can download them (4 MB)."""
    if folder := os.environ.get("SCIKIT_LEARN_DATA"):
        # relative to the folder of `make`, which is not the folder of this file or of the scripts
        os.environ["SCIKIT_LEARN_DATA"] = str(Path(__file__).parents[1] / folder)
    try:
        fetch_olivetti_faces(n_retries=1, delay=0.1)
    except OSError:
        return False
    return True


FACES_PAGE = "auto_examples/plot_faces_decomposition"
FACES_MSG = """
.. admonition:: This page has no figures
   :class: warning

   scikit-learn could not find or download the Olivetti faces when this page was built. Run the
   script below on a computer on which ``sklearn.datasets.fetch_olivetti_faces()`` works.

"""
faces_are_here = _faces_are_here()

mpl.rcParams["figure.dpi"] = 100
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/plot_" if faces_are_here else "/plot_(?!faces)",
    "within_subsection_order": ExplicitOrder(
        [
            "plot_faces_decomposition.py",
            "plot_brain_components.py",
            "plot_other_methods.py",
            "plot_brain_age.py",
            "plot_cortical_thickness.py",
            "plot_solvers.py",
            "plot_rank_selection.py",
            "*",
        ]
    ),
    "doc_module": ("opnmf_pipeline",),
    "backreferences_dir": "auto_examples/used",
    "image_srcset": ["2x"],
    "min_reported_time": 1,
    "write_computation_times": False,  # these pages would load scripts from other sites
    "capture_repr": ("_repr_html_",),
    "remove_config_comments": True,
    "show_signature": False,
    "show_memory": False,
    "abort_on_example_error": True,
    "copyfile_regex": r".*\.ya?ml",
}


def _say_that_faces_are_missing(app, page, source):
    if page == FACES_PAGE and not faces_are_here:
        label, title, rest = source[0].partition(".. _sphx_glr_auto_examples_plot_faces")
        source[0] = label + FACES_MSG + title + rest


PAGES_OF_FOLDERS = {"howto/containers": "containers", "howto/scripts": "workflows"}


def _put_readme_of_folder(app, page, source):
    """Show the README of a folder as a page, and replace links to files by their names."""
    folder = PAGES_OF_FOLDERS.get(page)
    if folder is None:
        return
    pages = {f"../{name}/README.md": page for page, name in PAGES_OF_FOLDERS.items()}

    def linked(link):
        text, target = link.groups()
        if target in pages:
            return f"[{text}](/{pages[target]}.md)"
        return f"`{folder}/{target}`"

    readme = (Path(app.srcdir).parent / folder / "README.md").read_text(encoding="utf-8")
    source[0] = re.sub(r"\[([^]]+)\]\((?!https?:)([^)]+)\)", linked, readme)


def _draw_map(app):
    from draw_map import draw

    draw(HERE / "images/map.svg")


def setup(app):
    """Register the functions that make files, and those that change pages when they are read."""
    app.connect("builder-inited", _draw_map)
    app.connect("source-read", _put_readme_of_folder)
    app.connect("source-read", _say_that_faces_are_missing)
