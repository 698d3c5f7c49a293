"""A small AI application: questions come in over HTTP, a language model answers them."""

__version__ = "0.1.0"
