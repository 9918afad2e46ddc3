"""Files written whole: a reader sees the old one or the new one, never half of one."""

import os
import secrets

from al_jax.files.reading import full_path
from al_jax.stack import InputError


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Writes `data` under a temporary name in the same folder, then renames it to `path`.

    A reader sees the old file or the new one, never half of one.

    Raises:
      InputError: the folder is missing or cannot be written; nothing is left behind.
    """
    path = full_path(path)
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from error
