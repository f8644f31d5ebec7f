"""The garbage collector: what happens to others when an entity is deleted.

Plain controllers on the engine, one a kind, so that whoever embeds an engine can have them:

    Engine(store, [Greeter()], across=collectors)
    Engine(client, [Greeter(), *collectors([Greeting, Room])])

Dependents go when their last owner has gone, or before it (foreground), or lose the reference to
it (orphan); references that are unset are taken out of those who refer. What to do is decided in
`judging`, from what was read right before; every write is guarded by what it was decided on. The
caches only say when to look: an owner that went while nobody collected is missed by its dependents
at the next start.
"""

from miren.controllers.garbage.collector import collectors

__all__ = ["collectors"]
