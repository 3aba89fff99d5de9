/** A gateway for one test, on a free port, with access to its log lines. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { GatewayOptions, GatewayStores } from "../../src/composition/gateway-options.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import type { ServiceInput } from "../../src/config/schema.ts";
import { type Gateway, openGateway } from "../../src/gateway.ts";

export const PROXY_KEY = "proxy-key-0123456789abcdef";
export const MANAGEMENT_KEY = "management-key-0123456789abcdef";

/** No shedding: a test shares its process and machine with others, whose load must not refuse its requests. */
const DEFAULT_ENV = { HOST: "127.0.0.1", PORT: "0", LOG_FORMAT: "json", PRESSURE_MAX_EVENT_LOOP_DELAY: "0" };

export interface TestGateway {
  readonly url: string;
  readonly port: number;
  /** URL of the second listener, if there is one. */
  readonly managementUrl: string | undefined;
  /** Folder of its env files and of its services file, `services.json`. */
  readonly directory: string;
  reload: Gateway["reload"];
  refreshTokens: Gateway["refreshTokens"];
  /** Returns all log lines so far, after a flush. */
  lines(): Record<string, unknown>[];
  /** Returns only the access lines. */
  exchanges(): Record<string, unknown>[];
  logText(): string;
  drain(delayMs: number, timeoutMs: number): Promise<number>;
  close(): Promise<void>;
}

export interface GatewaySetup {
  /** Variables in addition to CONFIG_FILE and DEFAULT_ENV. */
  readonly env?: Record<string, string>;
  /** Stores for changes; in memory if left out. */
  readonly stores?: GatewayStores;
  readonly services?: Record<string, Partial<ServiceInput>>;
  /** Other files of its folder, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Of caches. */
  readonly cacheClock?: GatewayOptions["cacheClock"];
  /** Of token budgets. */
  readonly budgetClock?: GatewayOptions["budgetClock"];
}

/** Starts a gateway, and closes it at the end of the test. */
export async function startGateway({
  env = {},
  services = {},
  files = {},
  stores,
  cacheClock,
  budgetClock,
}: GatewaySetup = {}): Promise<TestGateway> {
  const directory = mkdtempSync(join(tmpdir(), "byteproxy-test-"));
  const file = join(directory, "services.json");
  writeFileSync(file, JSON.stringify({ services }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  const load = () =>
    loadConfig({
      directory,
      processEnv: { ...DEFAULT_ENV, CONFIG_FILE: file, ...env },
    });
  const config = await load();
  let text = "";
  const gateway = await openGateway(config, {
    load,
    ...(stores === undefined ? {} : { stores }),
    ...(cacheClock === undefined ? {} : { cacheClock }),
    ...(budgetClock === undefined ? {} : { budgetClock }),
    logSink: {
      write: (lines) => {
        text += lines;
      },
      flushSync() {},
    },
  });
  let isClosed = false;
  const close = async () => {
    if (isClosed) return;
    isClosed = true;
    await gateway.close();
    rmSync(directory, { recursive: true, force: true });
  };
  onTestFinished(close);
  const lines = () => {
    gateway.logger.flush();
    return text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  };
  return {
    url: gateway.url,
    managementUrl: gateway.managementUrl,
    directory,
    reload: gateway.reload,
    refreshTokens: gateway.refreshTokens,
    port: Number(new URL(gateway.url).port),
    lines,
    exchanges: () => lines().filter((line) => line.msg === "request"),
    logText: () => {
      gateway.logger.flush();
      return text;
    },
    drain: (delayMs, timeoutMs) => {
      isClosed = true;
      rmSync(directory, { recursive: true, force: true });
      return gateway.drain(delayMs, timeoutMs);
    },
    close,
  };
}
