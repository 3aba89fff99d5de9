/** Temporary folders with configuration files, removed after the test, and the result of loading them. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import { type Config, ConfigProblems, loadConfig } from "../../src/config/load-config.ts";

export type Files = Readonly<Record<string, string | Uint8Array>>;
export type Env = Readonly<Record<string, string>>;

export const SERVICES = "config/services.json";
export const KEY = "an-inbound-key-0001";
export const OTHER_KEY = "an-inbound-key-0002";

export function tempFolder(files: Files = {}): string {
  const folder = mkdtempSync(join(tmpdir(), "byteproxy-config-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  return folder;
}

export function load(files: Files = {}, processEnv: Env = {}): Promise<Config> {
  return loadConfig({ processEnv, directory: tempFolder(files) });
}

/** The problem lines; empty if the configuration is valid. */
export async function problemsOf(files: Files = {}, processEnv: Env = {}): Promise<readonly string[]> {
  try {
    await load(files, processEnv);
    return [];
  } catch (error) {
    if (error instanceof ConfigProblems) return error.problems;
    throw error;
  }
}

/** A services file with these services. */
export const services = (entries: unknown): Files => ({ [SERVICES]: JSON.stringify({ services: entries }) });
