"""Widgets: what a package that is installed beside Miren can bring along."""
