"""Whether what lies in a folder may be run: machine code and modules that were kept there are, as whoever finds them."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def own(folder: Path) -> None:
    """Create a folder, and those above it that are missing, for this user alone.

    Raises
    ------
    PermissionError
        If somebody else could put, or have put, something there.
    """
    for place in (*reversed(folder.parents), folder):
        if not place.exists() and not doubt(folder):
            with contextlib.suppress(FileExistsError):  # another process was quicker
                place.mkdir(0o700)
    if reason := doubt(folder):
        raise PermissionError(reason)


def doubt(folder: Path) -> str:
    """Return why somebody else could have put something into a folder, or nothing if only this user and root could.

    The folder and all above it must be theirs, and writable by nobody else. A folder for all, such as /tmp, may be above: there, nobody
    can replace what is another's.
    """
    if not hasattr(os, "getuid"):
        return ""
    folder = folder.resolve()
    for place in (folder, *folder.parents):
        try:
            found = place.stat()
        except FileNotFoundError:
            continue
        if found.st_uid not in (0, os.getuid()):
            return f"`{place}` belongs to another user"
        if _open_to_others(found) and not (found.st_mode & stat.S_ISVTX and place != folder):
            return f"`{place}` can be written to by other users"
    return ""


def _open_to_others(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and not _alone(found.st_gid)))


def _alone(group: int) -> bool:
    """Say whether a group is the one that many systems give each user, named as he is, for him alone."""
    import grp
    import pwd

    try:
        user, members = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(group)
    except KeyError:
        return False
    return members.gr_name == user and set(members.gr_mem) <= {user}
