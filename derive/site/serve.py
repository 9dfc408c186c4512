"""The built site on this machine: served, and opened in a browser."""

from __future__ import annotations

import webbrowser
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of `folder` for this machine alone, at a free port unless one is given."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=str(folder)))


def serve(folder: Path) -> None:
    """Serve `folder`, open it in a browser, and go on until Ctrl-C."""
    with server(folder) as running:
        address = f"http://127.0.0.1:{running.server_address[1]}/"
        print(f"{address} (Ctrl-C ends it)", flush=True)
        webbrowser.open(address)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
