"""The playground: a page of the site where a cell is typed and derived in the browser, by derive itself under Pyodide.

===========  ==================================================================================
`pyodide`    Pyodide's files, fetched once and kept
`bundle`     all that the page loads, as scripts: they are read from a folder as from a server
`browser`    what runs in the browser: texts in, pieces of HTML out
===========  ==================================================================================
"""
