"""Clients that speak over a network: the same `Client` as over a store, somewhere else.

The engine and the entities import no HTTP library, so these stand beside them. A client here may
import entities and what is below; controllers, the server and the command line may import it.
"""
