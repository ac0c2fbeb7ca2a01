"""llama-server of llama.cpp, built from the source in llama-cpp-python's distribution."""

import json
import resource
import subprocess
from pathlib import Path

from adept_llm.export.llama_cpp import PACKAGE, VERSION, fetch_llama_cpp

# of the processor at hand, without what is fetched while it is built and what no request here needs
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
)  # fmt: skip


def build_llama_server(folder: Path) -> None:
    """Fetch, configure and build in an environment with cmake and ninja: build/bin/llama-server.

    built.json tells the source and the seconds of processor time, which other programs of the
    machine do not change much.

    Raises:
        InputError: where the source cannot be had.
        subprocess.CalledProcessError: where it cannot be built; a C++ compiler is needed.
    """
    source, build = folder / "llama.cpp", folder / "build"
    if not source.exists():
        fetch_llama_cpp(source, ("",))
    cmake, ninja = folder / "bin" / "cmake", folder / "bin" / "ninja"
    nice = ["nice", "-n", "10", str(cmake)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    place = ["-S", str(source), "-B", str(build), "-G", "Ninja"]
    subprocess.run([*nice, *place, f"-DCMAKE_MAKE_PROGRAM={ninja}", *OPTIONS], check=True)
    subprocess.run([*nice, "--build", str(build), "--target", "llama-server", "-j2"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    built = {"source": f"{PACKAGE} {VERSION}", "processor_seconds": round(seconds)}
    (folder / "built.json").write_text(json.dumps(built) + "\n")
