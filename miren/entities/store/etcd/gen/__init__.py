"""What scripts/generate_protos.py made; never edited by hand."""
