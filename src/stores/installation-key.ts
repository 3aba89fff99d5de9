/**
 * A random key of this installation. Its signatures cannot be recomputed elsewhere, so a fingerprint of a secret can be shown,
 * compared and logged without helping anyone to guess the secret.
 */
import { createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { replaceFile, StateFileUnusable } from "./state-file.ts";

/**
 * HMAC-SHA256 fingerprints (RFC 2104), a separate domain for each purpose: otherwise a caller could guess a secret by comparing
 * its fingerprint with that of a text that the caller chose.
 */
export interface Fingerprint {
  /** Of the gateway's own keys and of presented keys: 8 hex digits. */
  key(key: string): string;
  /** Of a service's credential: 8 hex digits. */
  credential(secret: string): string;
  /** Of a credential at its upstream, to name its quota: 16 hex digits. */
  quota(text: string): string;
  /** Of idempotent requests and their keys: 32 hex digits. */
  request(text: string): string;
  /** Of a whole configuration: 32 hex digits. */
  state(text: string): string;
}

const KEY_BYTES = 32;

/** Without a file (tests, no DATA_DIR): a new key at each start. */
export function createFingerprint(key: string = randomBytes(KEY_BYTES).toString("hex")): Fingerprint {
  const sign = (purpose: string, text: string) => createHmac("sha256", key).update(`${purpose}:${text}`).digest("hex");
  return {
    key: (text) => sign("key", text).slice(0, 8),
    credential: (text) => sign("credential", text).slice(0, 8),
    quota: (text) => sign("quota", text).slice(0, 16),
    request: (text) => sign("request", text).slice(0, 32),
    state: (text) => sign("state", text).slice(0, 32),
  };
}

/** Creates the key's file at the first start. @throws StateFileUnusable */
export async function openFingerprint(path: string): Promise<Fingerprint> {
  const found = readKey(path);
  if (found !== undefined) return createFingerprint(found);
  const key = randomBytes(KEY_BYTES).toString("hex");
  await replaceFile(path, [`${key}\n`]);
  return createFingerprint(key);
}

/** For a process without the lock: without a file the key lasts for this process only. @throws StateFileUnusable */
export const readFingerprint = (path: string): Fingerprint => createFingerprint(readKey(path));

function readKey(path: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(path, "latin1").trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw new StateFileUnusable(path, `reading it failed with ${code}`);
  }
  if (!/^[0-9a-f]{64}$/.test(text)) throw new StateFileUnusable(path, "it does not contain 64 hex digits");
  return text;
}
