"""A Slurm of two nodes on this machine, for a test: munged, slurmctld and two slurmd, no systemd.

Needs root, mount namespaces and the Debian packages slurmctld, slurmd, slurm-client and munge. Both
nodes are this machine under another name and port; each claims CPUs and two GPUs that it lacks.
"""

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "unshare")
NODES = ("node1", "node2")
GPUS = 2
CONFIG = """\
ClusterName=adepttest
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
# a requeued job starts again when its credential has run out: 2 minutes by default
AuthInfo=socket={root}/munge.socket,cred_expire=5
MailProg=/bin/true
SlurmctldPort={port}
SlurmctldPidFile={root}/slurmctld.pid
SlurmctldLogFile={root}/slurmctld.log
StateSaveLocation={root}/state
SlurmdPidFile={root}/slurmd.%n.pid
SlurmdLogFile={root}/slurmd.%n.log
SlurmdSpoolDir={root}/spool.%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=3600
JobRequeue=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
{nodes}
PartitionName=main Nodes=ALL Default=YES PriorityTier=10 PreemptMode=REQUEUE GraceTime=60
PartitionName=hasty Nodes=ALL PriorityTier=10 PreemptMode=REQUEUE
PartitionName=cheap Nodes=ALL PriorityTier=10 PreemptMode=CANCEL
PartitionName=urgent Nodes=ALL PriorityTier=100 PreemptMode=OFF
"""


def why_not():
    """Why no cluster can be started here, or None."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        packages = "slurmctld slurmd slurm-client munge"
        return f"not installed: {', '.join(missing)} (apt-get install {packages})"
    if os.geteuid() != 0:
        return "not root"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        return "mount namespaces are not allowed here"
    return None


@contextmanager
def cluster(root: Path):
    """Start it; yields the environment for sbatch and its sisters."""
    host = socket.gethostname()
    first = 20_000 + os.getpid() % 3_000 * (1 + len(NODES))  # two clusters at once share no port
    for i in range(GPUS):
        (root / f"nvidia{i}").symlink_to("/dev/null")
    (root / "state").mkdir()
    (root / "hosts").write_text(f"127.0.0.1 localhost {host} {' '.join(NODES)}\n")
    lines = [
        f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={first + 1 + i} CPUs=16 "
        f"RealMemory=100000 Gres=gpu:{GPUS} State=UNKNOWN"
        for i, node in enumerate(NODES)
    ]
    config = root / "slurm.conf"
    config.write_text(CONFIG.format(host=host, root=root, port=first, nodes="\n".join(lines)))
    gpus = f"Name=gpu File={root}/nvidia[0-{GPUS - 1}]"
    (root / "gres.conf").write_text("".join(f"NodeName={node} {gpus}\n" for node in NODES))
    key = root / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    environment = {**os.environ, "SLURM_CONF": str(config)}
    try:
        run(
            ["munged", f"--key-file={key}", f"--socket={root}/munge.socket",
             f"--pid-file={root}/munged.pid", f"--log-file={root}/munged.log",
             f"--seed-file={root}/munged.seed", "--force"], environment,
        )  # fmt: skip
        run(["slurmctld", "-f", str(config)], environment)
        for node in NODES:
            start_node(root, node, environment)
        deadline = time.monotonic() + 30
        while ask(["sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%N"], environment).split(
            "\n"
        ) != [*NODES]:
            if time.monotonic() > deadline:
                logs = "\n".join(p.read_text()[-1000:] for p in root.glob("*.log"))
                raise RuntimeError(f"the cluster did not come up: {logs}")
            time.sleep(0.1)
        yield environment
    finally:
        stop(root, environment)


def start_node(root, node, environment):
    """Start slurmd of a node, with the nodes' names in its own /etc/hosts."""
    script = 'mount --bind "$1/hosts" /etc/hosts && exec slurmd -f "$1/slurm.conf" -N "$2"'
    run(["unshare", "--mount", "bash", "-c", script, "_", str(root), node], environment)


def kill_node(root, node):
    """Kill slurmd of a node and all that runs on it, as a power cut would."""
    daemon = psutil.Process(int((root / f"slurmd.{node}.pid").read_text()))
    for process in [daemon, *jobs_of(root, node)]:
        with suppress_gone():
            process.kill()


def jobs_of(root, node):
    """Processes of jobs on a node."""
    found = []
    for process in psutil.process_iter():
        with suppress_gone():
            here = process.environ()
            ours = here.get("SLURM_CONF") == str(root / "slurm.conf")
            if ours and here.get("SLURMD_NODENAME") == node:
                found.append(process)
    return found


@contextmanager
def suppress_gone():
    """Ignore processes that have just ended."""
    try:
        yield
    except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
        pass


def stop(root, environment):
    """End jobs, then daemons."""
    with_jobs = ask(["squeue", "-h", "-o", "%A"], environment, check=False).split()
    if with_jobs:
        ask(["scancel", *with_jobs], environment, check=False)
        time.sleep(1)
    for node in NODES:
        for process in jobs_of(root, node):
            with suppress_gone():
                process.kill()
    for path in [*root.glob("slurm*.pid"), root / "munged.pid"]:
        with suppress_gone():
            if path.exists():
                process = psutil.Process(int(path.read_text()))
                if process.name() in ("slurmd", "slurmctld", "munged"):
                    process.kill()


def run(command, environment):
    """Run a daemon's starter, which returns at once."""
    subprocess.run(
        command, env=environment, check=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def ask(command, environment, check=True, cwd=None):
    """Output of a command."""
    done = subprocess.run(command, env=environment, text=True, capture_output=True, cwd=cwd)
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
    return done.stdout.strip()
