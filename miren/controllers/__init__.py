"""The controllers that come with Miren. They meet in entities and never import each other."""
