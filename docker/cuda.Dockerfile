# adept_llm on NVIDIA GPUs: docker build -f docker/cuda.Dockerfile -t adept-llm:cuda .
#   docker run --rm --gpus all --ipc host adept-llm:cuda doctor
#   docker run --rm --gpus all --ipc host --entrypoint torchrun adept-llm:cuda --nproc_per_node 8 \
#       /opt/adept_llm/recipes/llama2_adept.py /opt/adept_llm/recipes/llama2_7b.yaml ..
# The image has the compiler that DeepSpeed builds its operators with when a run first needs them.
FROM nvidia/cuda:13.0.1-cudnn-devel-ubuntu24.04

RUN apt-get update && \
    apt-get install -y --no-install-recommends python3-venv=3.12.* python3-dev=3.12.* \
        ninja-build=1.11.* bubblewrap=0.9.* && \
    rm -rf /var/lib/apt/lists/*
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:$PATH
RUN python3 -m venv /opt/venv && \
    pip install --no-cache-dir torch==2.13.0

WORKDIR /opt/adept_llm
COPY . .
RUN pip install --no-cache-dir -c constraints.txt '.[deepspeed,quantization,report]'

WORKDIR /runs
ENTRYPOINT ["adept-llm"]
CMD ["--help"]
