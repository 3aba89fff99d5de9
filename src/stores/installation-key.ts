/**
 * A random key that belongs to this installation: what it signs cannot be recomputed elsewhere, so that a fingerprint of a
 * secret can be shown, compared and logged without being a way to guess the secret.
 */
import { createHmac, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { replaceFile } from "./replace-file.ts";
import { StateFileUnusable } from "./state-file.ts";

/**
 * Of an HMAC-SHA256 (RFC 2104), by what it is made for: what one route shows must not be comparable with what another makes of
 * a text that the caller chose, or it would be a way to guess.
 */
export interface Fingerprint {
  /** Of the gateway's own keys, and of keys that were presented: 8 hex digits. */
  key(key: string): string;
  /** Of a service's credential: 8 hex digits. */
  credential(secret: string): string;
  /** Of a credential at its upstream, as a name for its quota: 16 hex digits. */
  quota(text: string): string;
  /** Of a whole configuration: 32 hex digits. */
  state(text: string): string;
}

const KEY_BYTES = 32;

/** For tests, and for whoever wants nothing on the disk: another one at each start. */
export function createFingerprint(key: string = randomBytes(KEY_BYTES).toString("hex")): Fingerprint {
  const sign = (purpose: string, text: string) => createHmac("sha256", key).update(`${purpose}:${text}`).digest("hex");
  return {
    key: (text) => sign("key", text).slice(0, 8),
    credential: (text) => sign("credential", text).slice(0, 8),
    quota: (text) => sign("quota", text).slice(0, 16),
    state: (text) => sign("state", text).slice(0, 32),
  };
}

/** Makes the key's file at the first start. @throws StateFileUnusable */
export async function openFingerprint(path: string): Promise<Fingerprint> {
  const found = readKey(path);
  if (found !== undefined) return createFingerprint(found);
  const key = randomBytes(KEY_BYTES).toString("hex");
  await replaceFile(path, [`${key}\n`]);
  return createFingerprint(key);
}

/** The same for who only looks: where there is no key yet, none is made that lasts. @throws StateFileUnusable */
export const lookAtFingerprint = (path: string): Fingerprint => createFingerprint(readKey(path));

function readKey(path: string): string | undefined {
  let text: string;
  try {
    text = readFileSync(path, "latin1").trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    throw new StateFileUnusable(path, `reading it failed with ${code}`);
  }
  if (!/^[0-9a-f]{64}$/.test(text)) throw new StateFileUnusable(path, "it does not hold 64 hex digits");
  return text;
}
