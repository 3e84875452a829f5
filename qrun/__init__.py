"""qrun: a declarative runner for quantum jobs."""

__version__ = "0.1.0"
