# What the job scripts share: the job's name for Slurm, where its log goes, its GPUs, its fate.
source slurm/site.env

# a task of an array by both numbers: the last task's bare job id would be the whole array's
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}
job=${job:-$SLURM_JOB_ID}

fail() {
    echo "error: $*" >&2
    exit 2
}

# said once here, not in a traceback of each rank; -c alone would also look in this folder.  A signal
# to the whole job may end this too, and says nothing of the package.
"$PYTHON" -c 'import sys; sys.path.pop(0); import adept_llm' 2>/dev/null ||
    [ -n "${stopped:-}" ] ||
    fail "$PYTHON has no adept_llm: activate its environment before sbatch, or set PYTHON in slurm/site.env"

# Go on in FOLDER/NAME-JOB.log, unless sbatch was given another --output.  Slurm can neither make a
# folder nor read the arguments, so each start begins in the file that #SBATCH --output names.
log_to() {
    local first=$PWD/$SLURM_JOB_NAME-$SLURM_JOB_ID.out log=$1/$SLURM_JOB_NAME-$job.log
    [ "$(readlink "/proc/$$/fd/1")" -ef "$first" ] || return 0
    cat "$first" >>"$log" || fail "$1: cannot be written to"
    exec >>"$log" 2>&1
    rm -f "$first"
}

gpus_on_node() {
    local ids=${SLURM_JOB_GPUS:-} kinds=${SLURM_GPUS_PER_NODE:-1}
    if [ -n "${SLURM_GPUS_ON_NODE:-}" ]; then
        echo "$SLURM_GPUS_ON_NODE"
    elif [ -n "$ids" ]; then
        echo "$ids" | tr ',' '\n' | wc -l
    else
        echo "${kinds##*:}" # 8 or h100:8
    fi
}

# How Slurm itself is ending this start: "timed out", "preempted", "cancelled", "requeued" (by Slurm,
# which starts it again), or nothing.  scancel, a preemption and the time limit send the same signals;
# only the job's state tells them apart.
ended_by_slurm() {
    local shown
    shown=$(scontrol --oneliner show job "$job" 2>/dev/null) || return 0
    case $shown in
        *JobState=COMPLETING* | *JobState=CANCELLED* | *JobState=PENDING* | *JobState=REQUEUE*) ;;
        *JobState=TIMEOUT* | *JobState=PREEMPTED*) ;;
        *) return ;; # RUNNING, or for a moment another state of a job that goes on
    esac
    case $shown in
        *Reason=TimeLimit*) echo "timed out" ;;
        *PreemptTime=[0-9]*) echo preempted ;;
        *" Restarts=${SLURM_RESTART_COUNT:-0} "*) echo cancelled ;;
        *) echo requeued ;;
    esac
}
