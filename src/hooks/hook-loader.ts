/**
 * Loads the module that MIDDLEWARE_PATH names.
 * Invariant: a module is loaded again only if its content changed, because no version of a module can be unloaded; and a module that
 * another user may write is never executed.
 */
import { hash } from "node:crypto";
import { basename, extname } from "node:path";
import { pathToFileURL } from "node:url";
import { readTextFile } from "../config/read-file.ts";
import { findOtherWriter } from "../config/trusted-file.ts";
import type { Logger } from "../telemetry/logger.ts";
import { readHooks } from "./read-hooks.ts";
import { UserHooks } from "./user-hooks.ts";

/** The hooks cannot be used. The message says what happened, why, and what to do, without a secret. */
export class HooksUnusable extends Error {}

/** Of a module with top-level await, ms. */
const LOAD_LIMIT_MS = 10_000;
const SIZE_LIMIT_MIB = 4;
const EXTENSIONS: ReadonlySet<string> = new Set([".js", ".mjs", ".cjs"]);
const TYPESCRIPT: ReadonlySet<string> = new Set([".ts", ".mts", ".cts"]);

export interface HookLoader {
  /** The hooks of this module; those that are loaded already, with their counts, if it has the same content. @throws HooksUnusable */
  load(path: string): Promise<UserHooks>;
}

export interface HookLoaderParts {
  readonly logger: Pick<Logger, "warn" | "error">;
  /** For the message of an error that the module throws. */
  readonly mask: (text: string) => string;
  readonly loadLimitMs?: number;
}

interface Loaded {
  readonly url: string;
  readonly hooks: UserHooks;
}

export function createHookLoader({ logger, mask, loadLimitMs = LOAD_LIMIT_MS }: HookLoaderParts): HookLoader {
  let current: Loaded | undefined;
  /** Node returns the same error for a URL whose module threw once. */
  const failures = new Map<string, number>();

  async function load(path: string): Promise<UserHooks> {
    const problem = findObstacle(path);
    if (problem !== undefined) throw new HooksUnusable(problem);
    const url = versionedUrl(path);
    if (current?.url === url) return current.hooks;
    const failed = failures.get(url) ?? 0;
    try {
      const module = await importWithin(failed === 0 ? url : `${url}.${failed}`, loadLimitMs);
      // The file may have been written between the two readings.
      if (versionedUrl(path) !== url) throw new Error("it changed while it was loaded");
      const hooks = readHooks(module);
      if (typeof hooks === "string") throw new HooksUnusable(unusable(path, hooks, FIX_SHAPE));
      current = { url, hooks: new UserHooks(hooks, logger) };
      return current.hooks;
    } catch (error) {
      failures.set(url, failed + 1);
      if (error instanceof HooksUnusable) throw error;
      throw new HooksUnusable(unusable(path, `it did not load: ${mask(describe(error, path))}`, FIX_LOAD));
    }
  }
  return { load };
}

const PREFIX = "MIDDLEWARE_PATH: the hooks in";
const FIX_SHAPE = "export default { name, onRequest?, onResponse?, onComplete? } or a list of these (docs/hooks.md)";
const FIX_LOAD = "correct the module, or unset MIDDLEWARE_PATH";

/** Why the file must not, or cannot, be loaded, without loading it; undefined where it can. */
export function findObstacle(path: string): string | undefined {
  const reading = readTextFile(path, true, SIZE_LIMIT_MIB);
  if (reading.state === "absent") {
    return unusable(path, "there is no such file", "correct the path, or unset MIDDLEWARE_PATH");
  }
  if (reading.state === "unreadable") return unusable(path, reading.reason, "name a JavaScript file that can be read");
  const extension = extname(path);
  if (TYPESCRIPT.has(extension) && !hasTypeScript()) {
    const fix = "compile it to JavaScript, or use Node 22.18 or later";
    return unusable(path, `Node ${process.versions.node} cannot load TypeScript`, fix);
  }
  if (!EXTENSIONS.has(extension) && !TYPESCRIPT.has(extension)) {
    return unusable(path, "its name does not end in .js, .mjs or .cjs", "rename it");
  }
  const writer = findOtherWriter(path);
  return writer === undefined ? undefined : `${PREFIX} ${path} cannot be used: ${writer}.`;
}

/** Whether this version of Node loads TypeScript itself. */
function hasTypeScript(): boolean {
  return Boolean((process.features as { readonly typescript?: unknown }).typescript);
}

function unusable(path: string, reason: string, fix: string): string {
  return `${PREFIX} ${path} cannot be used: ${reason}; ${fix}.`;
}

/** A version of the module is one URL, and so one module of Node. */
function versionedUrl(path: string): string {
  const reading = readTextFile(path, true, SIZE_LIMIT_MIB);
  const url = pathToFileURL(path);
  url.search = `version=${reading.state === "read" ? hash("sha256", reading.text, "hex").slice(0, 16) : "absent"}`;
  return url.href;
}

/** @throws what the module throws, or an Error after the limit: the module continues to load, but is not used. */
function importWithin(url: string, limitMs: number): Promise<Readonly<Record<string, unknown>>> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`it was not loaded within ${limitMs} ms, because its top-level await waits`));
    const timer = setTimeout(late, limitMs);
    import(url).then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** One line, with the place in the module where the stack names it. */
function describe(error: unknown, path: string): string {
  try {
    if (!(error instanceof Error)) return typeof error === "string" ? error.slice(0, 300) : "it threw a value";
    const { name, message, stack = "" } = error;
    const line = stack.split(basename(path))[1]?.match(/^(?:\?[^:\s]*)?:(\d+)/)?.[1];
    const [text = ""] = `${name}: ${message}`.split("\n", 1);
    return `${text.slice(0, 300)}${line === undefined ? "" : ` (line ${line})`}`;
  } catch {
    return "it threw an error that cannot be read";
  }
}
