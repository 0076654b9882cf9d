FROM python:3.11-slim

WORKDIR /app

# torch as PyPI has it for Linux carries 3 GB of CUDA that a 10-feature model never uses.
COPY pyproject.toml deploy/requirements.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt \
    && pip install --no-cache-dir --no-deps --index-url https://download.pytorch.org/whl/cpu \
       "$(sed -n 's/^ *"\(torch==[^"]*\)",$/\1/p' pyproject.toml)"

COPY README.md LICENSE ./
COPY consumer consumer
COPY producer_sim producer_sim
RUN pip install --no-cache-dir --no-deps --no-build-isolation .

# A named volume mounted here takes over this directory's owner.
RUN useradd --system --uid 10001 reflexive && install --directory --owner reflexive /model
USER reflexive

ENTRYPOINT ["python", "-m", "consumer"]
CMD ["--help"]
