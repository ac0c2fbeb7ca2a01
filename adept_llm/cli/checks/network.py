"""What lies beyond the machine: the hub, the cards that ranks talk over, the port they meet at."""

import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from adept_llm.cli.checks.finding import Finding

PATIENCE = 5.0  # seconds
LOGIN = "hf auth login"
LOCAL = ("lo", "docker", "veth", "br-", "virbr")


def hub(name: str | None) -> Iterator[Finding]:
    """Whether the hub answers, and gives the base model to this user.

    Args:
        name: of the base, on the hub or a folder; None where no run is meant yet.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    if name and Path(name).is_dir():
        yield Finding("base model", f"{name}, a folder")
        return
    needed = name is not None and not isinstance(try_to_load_from_cache(name, "config.json"), str)
    if constants.HF_HUB_OFFLINE:
        fix = "HF_HUB_OFFLINE is set, and the model is not in the cache" if needed else ""
        hint = f"HF_HUB_OFFLINE=0 hf download {name}   # where the hub is reached"
        yield Finding("hub", "offline, as asked", fix, hint=hint)
        return
    if why := unreached(constants.ENDPOINT):
        fix = "give models as folders and rows by --data_dir, or set HTTPS_PROXY or HF_ENDPOINT"
        hint = "export HF_HUB_OFFLINE=1   # takes what is in the cache without asking"
        yield Finding("hub", f"{constants.ENDPOINT} is not reached ({why})", fix, not needed, hint)
        return
    yield Finding("hub", f"{constants.ENDPOINT} answers")
    if name:
        yield granted(name)


def unreached(endpoint: str) -> str | None:
    """Why an address does not answer, or None; proxies of the environment are used."""
    request = urllib.request.Request(endpoint, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return None  # it answers
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return None


def granted(name: str) -> Finding:
    """Whether this user may read a model of the hub."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
    )

    try:
        HfApi().auth_check(name)
    except GatedRepoError:
        fix = f"ask for it at https://huggingface.co/{name}, then log in"
        return Finding("base model", f"{name} is given to registered users", fix, hint=LOGIN)
    except (RepositoryNotFoundError, HFValidationError):
        fix = "look at the name; a private one needs a login"
        return Finding("base model", f"{name} is not on the hub", fix, hint=LOGIN)
    except (HfHubHTTPError, OSError) as error:
        why = str(error).splitlines()[0][:200]
        return Finding("base model", f"{name}: {why}", "try again later", note=True)
    return Finding("base model", f"{name}, given to you")


def interfaces() -> Iterator[Finding]:
    """Whether the network cards that NCCL and gloo are told to use are there."""
    there = [name for _, name in socket.if_nameindex()]
    usable = [name for name in there if not name.startswith(LOCAL)]
    for variable in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        given = os.environ.get(variable, "")
        if not given or given.startswith("^"):
            continue  # those that are left out need not be there
        whole = given.startswith("=") or variable.startswith("GLOO")
        names = given.lstrip("=").split(",")
        if any(
            one == name or (not whole and one.startswith(name)) for name in names for one in there
        ):
            yield Finding(variable, given)
            continue
        fix = f"this machine has no such network card; it has {', '.join(usable or there)}"
        hint = f"export {variable}={usable[0]}" if usable else f"unset {variable}"
        yield Finding(variable, given, fix, hint=hint)


def port() -> Iterator[Finding]:
    """Whether the port that rank 0 is to open is free, before it does."""
    env = os.environ
    # torchrun has opened it already, for all
    if env.get("RANK") != "0" or env.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return
    if not env.get("MASTER_PORT", "").isdigit():
        return
    number = int(env["MASTER_PORT"])
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", number))
        except OSError as error:
            fix = "another run on this node has it: give another MASTER_PORT"
            hint = "export MASTER_PORT=$((15000 + SLURM_JOB_ID % 15000))"
            yield Finding("MASTER_PORT", f"{number}: {error.strerror}", fix, hint=hint)
            return
    yield Finding("MASTER_PORT", f"{number} is free")
