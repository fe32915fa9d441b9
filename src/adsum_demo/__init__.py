"""`adsum demo`: agents that find each other through a registry, some of them killed, finish a job together.

The job is real: every class, function, import and line of a folder of Python source (see `job`). Each agent is a
process with one of five capabilities. A coordinator finds agents by capability and gives them work. A third party,
`chaos`, kills agents with SIGKILL and starts them again, and kills the coordinator once. The coordinator learns of
deaths only from its watch on the registry. A second coordinator stands by for its id, and continues from the journal.
One agent runs an event loop and blocks it once; while it is stuck, the registrar marks it degraded and it gets no work.

    the command            run           prepares the workspace, runs the job, cleans up in every case
                           coordinators  starts both coordinators and merges their status updates into one view
    two processes          leader        stands by for the coordinator's id, and coordinates once it holds the id
                           coordinator   finds agents, assigns work, watches for deaths, reassigns lost work
                           journal       the facts that must survive the death of a coordinator
                           witness       counts the registry's answers and checks them against the kernel
    one process            chaos         starts the agents, kills them, measures how soon lookups miss them
    eight processes        worker        an agent: registers, works, reports its health
    one process            adder         an agent in an event loop, which sends its heartbeats

Read `worker` first: a program of your own would look like it.
"""
