# adept_llm on a CPU: docker build -f docker/cpu.Dockerfile -t adept-llm .
#   docker run --rm adept-llm doctor
#   docker run --rm -v "$PWD:/runs" adept-llm train --model_name_or_path NAME \
#       --train_file mine.jsonl --output_dir mine
FROM python:3.13-slim-bookworm

# bubblewrap: the sandbox for programs that a model wrote
RUN apt-get update && \
    apt-get install -y --no-install-recommends bubblewrap=0.8.* && \
    rm -rf /var/lib/apt/lists/*

# torch first and alone: any other order may bring several GB of CUDA packages along
RUN pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu

WORKDIR /opt/adept_llm
COPY . .
RUN pip install --no-cache-dir -c constraints.txt '.[quantization,report]'

WORKDIR /runs
ENTRYPOINT ["adept-llm"]
CMD ["--help"]
