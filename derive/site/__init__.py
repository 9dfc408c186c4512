"""The site: pages written from the cells, beside the hand-written ones, and built by MkDocs (`derive docs`).

===============  ===================================================================
`builder`        from cells to a folder of HTML
`serve`          the built site on this machine
`page`           the page of a cell: what it is made from, and its sections
`calculus`       its mathematics
`facts`          its tables
`programs`       its code
`markup`         equations, tables and sentences as HTML
`listing`        the emitted code, linked to the equations
`symbols`        the table of symbols
`tape`           what a forward pass keeps
`define`         a cell as Python that makes it, and Python that uses it
`maths`          TeX to MathML while the site is built (a Markdown extension)
`figures`        drawings put into the page (a Markdown extension)
===============  ===================================================================
"""

from __future__ import annotations

from .builder import Site, build, measure, need_extra, own_site, project_site
from .serve import serve

__all__ = ["Site", "build", "measure", "need_extra", "own_site", "project_site", "serve"]
