FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X github.com/writbroker/writ/cmd/writ/internal/cli.version=${VERSION}" -o /out/usr/local/bin/writ ./cmd/writ \
 && install -d -m 0700 /state \
 && install -D -m 0644 LICENSE /out/usr/share/doc/writ/LICENSE \
 && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt

# Nothing but the static binary, the roots that issuers' servers are checked
# against, and the directories that its state is mounted at.
FROM scratch
COPY --from=build /out/ /
COPY --from=build --chown=65532:65532 /state/ /var/lib/writ/
COPY --from=build --chown=65532:65532 /state/ /run/writ/
USER 65532:65532
VOLUME ["/var/lib/writ"]
EXPOSE 8443 8444
# The admin listener of the configuration is asked on loopback, with TLS or without.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["/usr/local/bin/writ", "health", "--config", "/etc/writ/writ.yaml"]
ENTRYPOINT ["/usr/local/bin/writ"]
CMD ["serve", "--config", "/etc/writ/writ.yaml"]
