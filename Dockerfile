# One image for the server and the command line. Two stages: build with everything, run with the libraries alone.
FROM debian:12-slim AS build
WORKDIR /src
COPY deploy/packages.txt deploy/install deploy/
RUN deploy/install build
COPY . .
RUN cmake --preset release -DMNEME_TESTS=OFF -DMNEME_BENCHMARKS=OFF \
 && cmake --build --preset release --target mneme-server mneme \
 && strip build/release/bin/mneme-server build/release/bin/mneme
# The Debian packages of the shared libraries that the programs load.
RUN ldd build/release/bin/mneme-server build/release/bin/mneme \
  | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u | xargs -n1 readlink -f | sed 's#^/usr##' | sort -u \
  | xargs -I{} sh -c 'dpkg-query -S "{}" 2>/dev/null || dpkg-query -S "/usr{}"' | cut -d: -f1 | sort -u > /runtime-packages.txt

FROM debian:12-slim
LABEL org.opencontainers.image.title="mneme" \
      org.opencontainers.image.description="A memory that neural networks read and write while they run"
COPY --from=build /runtime-packages.txt /tmp/runtime-packages.txt
RUN apt-get update -qq \
 && xargs -r apt-get install -y -qq --no-install-recommends < /tmp/runtime-packages.txt \
 && rm -rf /var/lib/apt/lists/* /tmp/runtime-packages.txt \
 && install -d -o 65532 -g 65532 -m 0700 /data
COPY --from=build /src/build/release/bin/mneme-server /src/build/release/bin/mneme /usr/local/bin/
USER 65532:65532
VOLUME /data
EXPOSE 7700 7701
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
  CMD ["mneme", "--server", "127.0.0.1:7700", "health"]
# Of every role; MNEME_ROLE and the others say which (docs/operations.md, "Flags"). All addresses of the container are
# listened on, so it does not start before it is told by what it proves itself (MNEME_TLS_CERTIFICATE, MNEME_TLS_KEY; and
# MNEME_TLS_CA, MNEME_TLS_SERVER_NAME for its health check), or MNEME_INSECURE_LISTEN=true, that nothing need be encrypted
# where it runs. The admin port has the same certificate; where none is given it may be plain.
ENV MNEME_DATA_DIR=/data \
    MNEME_LISTEN=0.0.0.0:7700 \
    MNEME_ADMIN_LISTEN=0.0.0.0:7701 \
    MNEME_INSECURE_ADMIN_LISTEN=true
ENTRYPOINT ["mneme-server"]
