"""The cluster, over real etcd servers: the client, and what it does while they die, stop and lose their leader."""
