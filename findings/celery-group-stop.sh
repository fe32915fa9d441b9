#!/usr/bin/env bash
# supervisor's `stopasgroup=true` turns Celery's warm shutdown into the loss of the running task.
#
# A good engineer guesses: SIGTERM makes a Celery worker finish its running tasks and then leave, and to send it to the
# whole group, as one does for programs with children, is the same, only more thorough.
# In fact: the processes of the prefork pool have SIGTERM at its default. The main process says "Warm shutdown", its
# pool processes are dead at once, the task is cut off in the middle, and Celery exits with 0, as after success. With
# `stopasgroup=false` the same stop lets the task finish.
# It matters because: a task that was acknowledged early, which is the default, is lost at every deployment, with one line
# in the log. `kill -- -PID` does the same. `killasgroup=true`, which acts after `stopwaitsecs`, does no harm.
# Source: celery/concurrency/prefork.py, WORKER_SIGRESET; supervisor's page on [program:x], stopasgroup.
. "$(dirname "$0")/prelude"
install celery==5.7.0 supervisor==4.3.0

cat > app.py <<'EOP'
import time
from pathlib import Path

from celery import Celery

for name in ("messages", "control"):
    Path(name).mkdir(exist_ok=True)
app = Celery("app", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "messages",
    "data_folder_out": "messages",
    "control_folder": "control",
}


@app.task
def work() -> None:
    Path("started").touch()
    time.sleep(3)
    Path("finished").touch()
EOP
cat > stop.py <<'EOP'
import subprocess
import sys
import time
from pathlib import Path

CONFIGURATION = """
[supervisord]
logfile=supervisord.log
pidfile=supervisord.pid
nodaemon=true
[program:celery]
command={python} -m celery -A app worker --concurrency 1 --without-gossip --without-mingle --loglevel INFO
stdout_logfile=celery.log
redirect_stderr=true
stopwaitsecs=20
stopasgroup={stopasgroup}
"""


def task_finishes(stopasgroup: str) -> bool:
    for name in ("started", "finished", "celery.log", "supervisord.log"):
        Path(name).unlink(missing_ok=True)
    Path("supervisord.conf").write_text(CONFIGURATION.format(python=sys.executable, stopasgroup=stopasgroup))
    supervisor = subprocess.Popen(
        [sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        subprocess.run([sys.executable, "-c", "import app; app.work.delay()"], check=True)
        deadline = time.monotonic() + 30
        while not Path("started").exists():
            if time.monotonic() > deadline:
                sys.exit("the task did not start in time: " + Path("celery.log").read_text())
            time.sleep(0.05)
    finally:
        supervisor.terminate()  # supervisord stops its programs first
        supervisor.wait()
    log = [line.strip() for line in Path("celery.log").read_text().splitlines()]
    warm = any("Warm shutdown" in line for line in log)
    exits = [line.split("INFO ")[-1] for line in Path("supervisord.log").read_text().splitlines() if "stopped:" in line]
    finished = Path("finished").exists()
    print(f"stopasgroup={stopasgroup}: warm shutdown {warm}, task finished {finished}; supervisor: {exits}")
    return finished


sys.exit((task_finishes("false"), task_finishes("true")) != (True, False))
EOP
"$python" stop.py
