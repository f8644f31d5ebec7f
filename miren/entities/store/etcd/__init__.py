"""The store on etcd: several servers, one history.

The only package under `miren.entities` that knows grpc and protobuf; it is imported when such a
store is opened, and needs the extra `etcd`. `client` speaks to a cluster, in etcd's messages and
with errors of ours; the store is built on it.
"""
