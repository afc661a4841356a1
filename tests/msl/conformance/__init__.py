"""Small Metal programs by area, each with what it must give. Every module of this package counts."""

from importlib import import_module
from pkgutil import iter_modules

from tests.msl.program import Area

MODULES = tuple(import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
AREAS = tuple(value for module in MODULES for value in vars(module).values() if isinstance(value, Area))
