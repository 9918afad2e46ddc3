"""Suggestive annotation of stacks of 2D sections (Atzeni et al., Medical Image Analysis 2022).

The public names stand in `__init__.pyi`, by the module that explains them: each module is imported
when a name of its own is first used, so that `import al_jax` is quick and loads no reader of files.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
