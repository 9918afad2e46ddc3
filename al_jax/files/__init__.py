"""Readers and writers: a reader returns what `core.stack` has checked, or raises `InputError`.

No traceback of nibabel, Pillow or zipfile reaches the user, only one line that names the file and
how to fix it.
"""
