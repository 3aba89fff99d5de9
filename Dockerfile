# syntax=docker/dockerfile:1

# Build with: docker build --build-arg COMMIT="$(git rev-parse HEAD)" -t byteproxy . (`npm run image` builds and tries it without Docker)
# Run with:   docker run -p 3420:3420 -e PROXY_API_KEY=... -e MANAGEMENT_API_KEY=... -v byteproxy-data:/data byteproxy
# The image listens on all addresses, so the gateway does not start while a plane has no key, unless ALLOW_UNAUTHENTICATED=true.

FROM node:24.22.3-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json tsconfig.types.json ./
COPY src ./src
RUN npm run build

FROM node:24.22.3-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:24.22.3-bookworm-slim
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    DATA_DIR=/data
WORKDIR /app
# /version shows the content of COMMIT. root owns the program's files, so the process can read but not change them.
ARG COMMIT=""
LABEL org.opencontainers.image.title="ByteProxy" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="$COMMIT"
RUN if [ -n "$COMMIT" ]; then echo "$COMMIT" > COMMIT; fi \
    && ln -s /app/bin/byteproxy.js /usr/local/bin/byteproxy \
    && mkdir -m 0700 /data \
    && chown node:node /data
COPY package.json LICENSE ./
COPY bin ./bin
COPY config ./config
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# VOLUME comes after chown: later changes to a volume's directory are lost in the build.
VOLUME /data
USER node
EXPOSE 3420
STOPSIGNAL SIGTERM
# The image has no curl. /health needs no key and no known Host name.
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 \
    CMD ["node", "bin/health-check.js"]
# No shell and no npm in between, so the stop signal reaches the gateway itself, which then drains. SIGUSR1 would open Node's debugger.
CMD ["node", "--disable-sigusr1", "dist/main.js"]
