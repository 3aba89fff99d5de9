# syntax=docker/dockerfile:1

# Build with: docker build --build-arg COMMIT="$(git rev-parse HEAD)" -t byteproxy .
# Run with:   docker run -p 3420:3420 -e PROXY_API_KEY=... -e MANAGEMENT_API_KEY=... -v byteproxy-data:/data byteproxy
# The image listens on all addresses, so it refuses to start while a plane has no key (ALLOW_UNAUTHENTICATED=true allows it).

FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm run build

FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:24-slim
ENV NODE_ENV=production \
    HOST=0.0.0.0 \
    DATA_DIR=/data
WORKDIR /app
# /version answers what stands in COMMIT. The program's own files stay root's: the process can read, not change them.
ARG COMMIT=""
RUN if [ -n "$COMMIT" ]; then echo "$COMMIT" > COMMIT; fi \
    && mkdir -m 0700 /data \
    && chown node:node /data
COPY package.json LICENSE ./
COPY config ./config
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# After the chown: what is changed in a volume's folder later in the build is lost.
VOLUME /data
USER node
EXPOSE 3420
STOPSIGNAL SIGTERM
# The image has no curl. /health asks for no key and no Host name.
HEALTHCHECK --interval=30s --timeout=3s --start-period=5s --retries=3 \
    CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.PORT || 3420) + '/health').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
# No shell and no npm in between: the signal to stop reaches the gateway itself, which then drains.
CMD ["node", "dist/main.js"]
