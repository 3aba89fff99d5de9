/** The built gateway under test, with every step enabled that costs CPU in production. */
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { type IncomingHttpHeaders, type IncomingMessage, type OutgoingHttpHeaders, request } from "node:http";
import { request as secureRequest } from "node:https";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Certificate } from "./certificate.ts";
import { freePort, type Processes, type RunningServer } from "./processes.ts";
import type { Origin } from "./start-origin.ts";
import type { ServiceOption } from "./workloads/workload.ts";

/** Used on loopback only; not real keys. */
export const API_KEY = "bench-proxy-key-0123456789abcdef";
export const ORIGIN_TOKEN = "bench-origin-token-fedcba9876543210";
const READY_MS = 20_000;

/** What differs between the workloads. */
export interface GatewaySetup {
  /** The gateway serves https with it. */
  readonly certificate?: Certificate | undefined;
  /** It is enabled for the service. */
  readonly option?: ServiceOption | undefined;
}

export interface RunningGateway extends RunningServer, GatewaySetup {
  /** stdout: the access lines. */
  readonly logFile: string;
}

/** Starts `node dist/main.js` of the checkout in front of the origin and waits until /health responds with 200. */
export async function startGateway(
  processes: Processes,
  root: string,
  origin: Origin,
  setup: GatewaySetup = {},
): Promise<RunningGateway> {
  const port = await freePort();
  const home = join(processes.folder, `gateway-${port}`);
  mkdirSync(home);
  const logFile = join(home, "stdout.log");
  const configFile = join(home, "services.json");
  writeFileSync(configFile, JSON.stringify(servicesFile(origin, setup)));
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
      ...(setup.certificate === undefined
        ? {}
        : { TLS_CERT_FILE: setup.certificate.certFile, TLS_KEY_FILE: setup.certificate.keyFile }),
    },
    stdio: ["ignore", log, "inherit"],
  });
  closeSync(log);
  const gateway = { child, pid: child.pid, port, logFile, ...setup };
  await untilHealthy(gateway);
  return gateway;
}

function servicesFile({ url, caFile }: Origin, { option }: GatewaySetup): unknown {
  return {
    services: {
      origin: {
        baseUrl: url,
        ...(caFile === undefined ? {} : { tls: { caFile } }),
        ws: true,
        // An older checkout may not know it.
        ...(option === undefined ? {} : { [option]: true }),
        auth: { type: "bearer", tokenEnvVar: "BENCH_ORIGIN_TOKEN" },
        rateLimit: { maxRequests: 1_000_000_000, windowMs: 3_600_000, per: "service" },
      },
    },
  };
}

async function untilHealthy(gateway: RunningGateway): Promise<void> {
  const deadline = performance.now() + READY_MS;
  while (!(await isHealthy(gateway))) {
    const ended = gateway.child.exitCode !== null;
    if (ended || performance.now() > deadline) {
      const why = ended ? `ended with code ${gateway.child.exitCode}` : `was not healthy within ${READY_MS} ms`;
      throw new Error(`the gateway ${why}; its output:\n${readFileSync(gateway.logFile, "utf8").slice(-2000)}`);
    }
    await delay(2);
  }
}

async function isHealthy(gateway: RunningGateway): Promise<boolean> {
  return ask(gateway, "/health").then(
    ({ status }) => status === 200,
    () => false,
  );
}

export interface Answer {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** One GET on a connection of its own. */
export async function ask(
  { port, certificate }: RunningGateway,
  path: string,
  headers: OutgoingHttpHeaders = {},
): Promise<Answer> {
  const options = { port, host: "127.0.0.1", path, headers, agent: false };
  const req =
    certificate === undefined
      ? request(options)
      : secureRequest({ ...options, ca: readFileSync(certificate.certFile) });
  req.end();
  const [res] = (await once(req, "response")) as [IncomingMessage];
  const text = (await res.toArray()).join("");
  return { status: res.statusCode, headers: res.headers, text };
}
