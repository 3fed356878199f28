"""Generating connectomes from phenotypes: the generator, its paths, and the rivals it is measured against."""
