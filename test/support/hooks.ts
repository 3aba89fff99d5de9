/** A gateway with user hooks, for tests: the module is in a folder that no other user may write. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type GatewaySetup, MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "./gateway.ts";

/** Writes a module, and removes it after the test. @returns its path. */
export function writeHooks(source: string, name = "hooks.mjs"): string {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-hooks-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return rewriteHooks(join(folder, name), source);
}

export function rewriteHooks(path: string, source: string): string {
  writeFileSync(path, source);
  chmodSync(path, 0o600);
  return path;
}

export interface HookedGateway extends TestGateway {
  readonly path: string;
  /** Requests the service `api` with the proxy key. */
  ask(path: string, init?: RequestInit): Promise<Response>;
}

export async function startHookedGateway(source: string, setup: GatewaySetup): Promise<HookedGateway> {
  const path = writeHooks(source);
  const keys = { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY };
  const gateway = await startGateway({ ...setup, env: { ...keys, MIDDLEWARE_PATH: path, ...setup.env } });
  return {
    ...gateway,
    path,
    ask: (below, init) =>
      fetch(`${gateway.url}/proxy/api${below}`, {
        ...init,
        headers: { "x-api-key": PROXY_KEY, ...(init?.headers as Record<string, string>) },
      }),
  };
}
