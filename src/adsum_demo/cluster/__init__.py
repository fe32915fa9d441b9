"""`adsum demo --cluster`: the demo's job over three hosts, one of which is lost.

Each host has a registry of its own and its share of the agents; etcd makes one registry of the three. A host is a
network, a PID and a UTS namespace where this user may make them, with an address of its own on a bridge between them;
elsewhere it is a folder, and its processes share the machine. etcd has three members.

    the command     run            starts the conductor, shows what it says, does the job alone, makes the report
                    report         what it says at the end
    the conductor   conductor      starts etcd and the hosts; kills agents, etcd's leader, and a whole host
                    kills          one kill each, measured at the other hosts
                    place          namespaces, or folders
                    etcd           three members, found and started
                    processes      a host's processes, killed together
    each host       host           the first process: starts, kills and restarts the agents of its host
                    observer       reads all the time, checks each answer, and says when a killed agent is gone
                    leader         a coordinator, as in the other demo; its id is a name of the whole cluster
                    worker, adder  agents, as in the other demo

The last part of the job waits until the host was killed, so that this always happens in the middle of the work.

What a read may return is checked against `deaths`, a file with the end of each process.
"""
