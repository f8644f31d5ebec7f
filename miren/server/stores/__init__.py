"""The server's store: which one it is, how it is opened, replaced and moved.

What a store is, is `miren.entities.store`'s; here is what a state folder and processes add.
"""
