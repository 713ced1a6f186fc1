# The server without the embedded database: it needs PROXY_MONGODB_URI.
# docker-compose.yml runs it together with MongoDB.

FROM python:3.12-slim AS build
ENV VIRTUAL_ENV=/opt/proxy UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1
WORKDIR /src
# Every file that is installed is named by its hash (scripts/lock): the tools, what the server
# needs, which changes less often than the code, and then the server without anything else.
COPY requirements.build.lock requirements.image.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.build.lock
RUN uv venv "$VIRTUAL_ENV" && uv pip install --require-hashes --no-deps -r requirements.image.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
COPY scripts/mongosh.js scripts/mongosh.js
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && uv pip install --no-deps --no-index /wheels/*.whl

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin proxy
COPY --from=build /opt/proxy /opt/proxy
ENV PATH=/opt/proxy/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001
EXPOSE 8000
# The process alone: an outage of the database must not have it restarted.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('PROXY_PORT', '8000')}/livez\", timeout=4)"]
ENTRYPOINT ["proxy"]
