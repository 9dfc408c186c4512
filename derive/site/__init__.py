"""The site: pages written from the cells, beside the hand-written ones, and built by MkDocs (`derive docs`).

===============  ===================================================================
`project`        the project's own site
`builder`        from cells to a folder of HTML
`serve`          the built site on this machine
`playground`     a page where a cell is typed and derived in the browser
`made`           what takes time for a cell, for several processes
`parts`          the page of a cell in parts, where it would be too long
`sections`       the page of a cell, section by section
`mathematics`    its mathematics
`facts`          its tables
`drawing`        its picture
`programs`       its code
`gallery`        all cells side by side
`plain`          derivations as plain text, and the list of all pages
`page`           what a page is made from
`emitted`        the emitted code, linked to the equations
`markup`         equations, tables and sentences as HTML
`symbols`        the table of symbols
`tape`           what a forward pass keeps
`verified`       what was checked
`define`         a cell as Python that makes it
`example`        Python that uses its kernels
`formulas`       formulas as they are marked, and as MathML
`bibtex`         what to cite
`references`     arXiv numbers and DOIs as links (a Markdown extension)
`mathml`         TeX to MathML while the site is built (a Markdown extension)
`figures`        drawings put into the page (a Markdown extension)
`hooks`          what MkDocs calls while it builds
`extra`          what must be installed for all this
===============  ===================================================================
"""
