"""The reconcile engine: informers feed keyed queues, queues feed controllers.

Level-triggered: a reconciler gets the newest entity of a key, looks at the world, acts, and says
what comes next. It knows `Client` and nothing below it: no store, no containers. Everything that
has to do with time goes through the loop's clock, so tests run the real engine in virtual time.
"""
