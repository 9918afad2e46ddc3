"""Files whose content is elsewhere: broken links, pointers of Git, and placeholders of clouds."""

import os
import pathlib

from al_jax.core.stack import InputError

POINTERS = {
    b"version https://git-lfs": "git lfs pull",
    b"/annex/objects/": "datalad get, or git annex get",
}
"""What small files hold in place of their content, and what fetches it."""

LONGEST = 1024
"""Bytes of such a file, at most."""

CLOUDS = (".icloud", ".nextcloud", ".owncloud", ".cloud", ".cloudf")
"""What clouds put after the name of a file that they have not fetched; iCloud hides it, too."""


def check_here(path: str | os.PathLike[str]) -> None:
    """Looks whether the content of a file is where its name is; a file that is not there passes.

    Raises:
      InputError: it is a broken link, or a pointer to the content; the line says what fetches it.
    """
    if os.path.islink(path) and not os.path.exists(path):
        target = os.fspath(os.readlink(path))
        fetch = POINTERS[b"/annex/objects/"] if "annex/objects" in target else "copy it here"
        raise InputError(
            f"{path}: is a link to {target}, which is not there; fetch the file ({fetch}), or "
            "remove the link"
        )
    if not os.path.isfile(path) or os.path.getsize(path) > LONGEST:
        return
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError:
        return  # whoever reads it says why it cannot
    for mark, fetch in POINTERS.items():
        if mark in content:
            raise InputError(
                f"{path}: holds only where its content is; fetch that ({fetch}), or remove the file"
            )


def stands_for(name: str) -> str | None:
    """The name of the file that a cloud's placeholder stands for; None: it is no placeholder.

    Example:
      >>> stands_for(".s1.png.icloud")
      's1.png'
    """
    bare, ending = os.path.splitext(name)
    if ending.lower() not in CLOUDS:
        return None
    return bare.removeprefix(".") if ending.lower() == ".icloud" else bare
