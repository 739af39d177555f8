# Both Docker's classic builder and BuildKit build this. A private package mirror comes in through
# build arguments that pip reads as its own environment (docs/deployment.md); they exist in the
# build stage only, so no layer or history of the image that is shipped carries them.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_DEFAULT_TIMEOUT
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/runtime.txt requirements/build.txt requirements/
# The environment that is shipped gets no pip of its own; the base image's pip writes into it.
RUN python -m venv --without-pip /opt/limbeck \
 && python -m pip --python /opt/limbeck/bin/python install --require-hashes --no-deps -r requirements/runtime.txt
RUN python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --require-hashes --no-deps -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY examples/seeds.jsonl examples/
COPY migrations migrations
COPY workers workers
COPY app app
RUN /opt/build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && python -m pip --python /opt/limbeck/bin/python install --no-index --no-deps /wheels/*.whl

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 limbeck \
 && useradd --uid 10001 --gid 10001 --create-home --home-dir /var/lib/limbeck --shell /usr/sbin/nologin limbeck
COPY --from=build /opt/limbeck /opt/limbeck
ENV PATH=/opt/limbeck/bin:$PATH PYTHONUNBUFFERED=1 LIMBECK_DATA_DIR=/var/lib/limbeck
WORKDIR /var/lib/limbeck
USER 10001:10001
ENTRYPOINT ["limbeck"]
