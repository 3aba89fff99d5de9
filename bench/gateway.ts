/** The built gateway under test, with every step enabled that costs CPU in production. */
import { closeSync, createReadStream, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePort, type Processes, type RunningServer } from "./processes.ts";
import type { Origin } from "./start-origin.ts";

/** Used on loopback only; not real keys. */
export const API_KEY = "bench-proxy-key-0123456789abcdef";
export const ORIGIN_TOKEN = "bench-origin-token-fedcba9876543210";
const READY_MS = 20_000;
const LINE_FEED = 10;

export interface RunningGateway extends RunningServer {
  /** stdout: the access lines. */
  readonly logFile: string;
}

/** Starts `node dist/main.js` of the checkout in front of the origin and waits until /health responds with 200. */
export async function startGateway(
  processes: Processes,
  root: string,
  origin: Origin,
  isScrubbed = false,
): Promise<RunningGateway> {
  const port = await freePort();
  const home = join(processes.folder, `gateway-${port}`);
  mkdirSync(home);
  const logFile = join(home, "stdout.log");
  const configFile = join(home, "services.json");
  writeFileSync(configFile, JSON.stringify(servicesFile(origin, isScrubbed)));
  const log = openSync(logFile, "w");
  const child = processes.start([join(root, "dist", "main.js")], {
    // Not the repository's folder: its .env files must not change what is measured.
    cwd: home,
    env: {
      PATH: process.env.PATH,
      PORT: String(port),
      HOST: "127.0.0.1",
      PROXY_API_KEY: API_KEY,
      BENCH_ORIGIN_TOKEN: ORIGIN_TOKEN,
      CONFIG_FILE: configFile,
      DATA_DIR: join(home, "data"),
      LOG_FORMAT: "json",
      SHUTDOWN_DELAY: "0",
    },
    stdio: ["ignore", log, "inherit"],
  });
  closeSync(log);
  const gateway = { child, pid: child.pid, port, logFile };
  await untilHealthy(gateway);
  return gateway;
}

function servicesFile({ url, caFile }: Origin, isScrubbed: boolean): unknown {
  return {
    services: {
      origin: {
        baseUrl: url,
        ...(caFile === undefined ? {} : { tls: { caFile } }),
        ws: true,
        // An older checkout does not know it.
        ...(isScrubbed ? { scrubBodies: true } : {}),
        auth: { type: "bearer", tokenEnvVar: "BENCH_ORIGIN_TOKEN" },
        rateLimit: { maxRequests: 1_000_000_000, windowMs: 3_600_000, per: "service" },
      },
    },
  };
}

async function untilHealthy(gateway: RunningGateway): Promise<void> {
  const deadline = performance.now() + READY_MS;
  while (!(await isHealthy(gateway.port))) {
    const ended = gateway.child.exitCode !== null;
    if (ended || performance.now() > deadline) {
      const why = ended ? `ended with code ${gateway.child.exitCode}` : `was not healthy within ${READY_MS} ms`;
      throw new Error(`the gateway ${why}; its output:\n${readFileSync(gateway.logFile, "utf8").slice(-2000)}`);
    }
    await delay(2);
  }
}

function isHealthy(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const req = request({ port, host: "127.0.0.1", path: "/health", agent: false }, (res) => {
      res.resume();
      resolve(res.statusCode === 200);
    });
    req.on("error", () => resolve(false));
    req.end();
  });
}

/**
 * Fails unless the gateway really does what the benchmark claims: it refuses a caller without the key, replaces the key by the
 * credential, counts the request against the rate limit, and masks the credential in the response where it has to.
 */
export async function assertEverythingIsOn(gateway: RunningGateway, isScrubbed: boolean): Promise<void> {
  const url = `http://127.0.0.1:${gateway.port}/proxy/origin/seen`;
  const refused = await fetch(url);
  await refused.arrayBuffer();
  if (refused.status !== 401)
    throw new Error(`the gateway responded with ${refused.status} to a request without a key`);
  const response = await fetch(url, { headers: { authorization: `Bearer ${API_KEY}` } });
  const seen = await response.text();
  if (response.status !== 200) throw new Error(`the gateway responded with ${response.status}: ${seen}`);
  if (
    seen !== JSON.stringify({ authorization: `Bearer ${isScrubbed ? "*".repeat(ORIGIN_TOKEN.length) : ORIGIN_TOKEN}` })
  ) {
    throw new Error(`the gateway did not inject the credential; the origin saw ${seen}`);
  }
  if (!response.headers.has("ratelimit")) throw new Error("the gateway sent no RateLimit field");
}

/** Fails unless there is an access line for each request: a gateway that drops lines is not measured. */
export async function assertLogged(gateway: RunningGateway, requests: number): Promise<void> {
  // The logger writes in batches; a second is ten of its flush intervals.
  await delay(1000);
  let lines = 0;
  for await (const chunk of createReadStream(gateway.logFile) as AsyncIterable<Buffer>) {
    for (let at = chunk.indexOf(LINE_FEED); at >= 0; at = chunk.indexOf(LINE_FEED, at + 1)) lines++;
  }
  if (lines < requests) throw new Error(`${requests} requests, but only ${lines} lines in the access log`);
}
