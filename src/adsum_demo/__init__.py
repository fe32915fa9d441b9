"""`adsum demo`: a small system of agents that finds its members through the registry, loses some, and finishes its job.

The job is real: every class, function, import and line of a folder of Python source (see `job`). Each agent is a
process of its own with one of five abilities; a coordinator finds agents by what they can do and hands them work; a
third party, `chaos`, keeps killing agents with SIGKILL and starting them again, and once kills the coordinator. Nobody
tells the coordinator of a death: it watches the registry. Its stand-by waits in the registry for its id, and goes on
from the journal. One agent lives in an event loop, blocks it once, and is given nothing for as long as it is stuck.

    command's process      run          puts everything in place, and takes it away again whatever happens
                           audience     hears what the coordinators tell, and shows it
    two processes          leader       stands by for the coordinator's id; who has it leads
                           coordinator  finds agents, gives them work, watches who dies, gives lost work again
                           journal      what it must not lose when it is killed
                           witness      counts what the registry answers, and checks it against the kernel
    a process              chaos        starts the agents, kills them, measures how fast they are gone
    eight processes        worker       an agent: registers, does work, says how it is
    a process              adder        an agent in an event loop, which gives its signs of life

Read `worker` first; it is what a program of your own would look like.
"""
