"""`adsum demo`: a small system of agents that finds its members through the registry, loses some, and finishes its job.

The job is real: every class, function, import and line of a folder of Python source (see `job`). Each agent is a
process of its own with one of four abilities; a coordinator finds agents by what they can do and hands them work; a
third party, `chaos`, keeps killing agents with SIGKILL and starting them again. Nobody tells the coordinator of a
death: it asks the registry.

    command's process      run          puts everything in place, and takes it away again whatever happens
                           coordinator  finds agents, gives them work, learns of deaths, gives lost work again
                           witness      counts what the registry answers, and checks it against the kernel
    a process              chaos         starts the agents, kills them, measures how fast they are gone
    eight processes        worker        an agent: registers, does work, says how it is

Read `worker` first; it is what a program of your own would look like.
"""
