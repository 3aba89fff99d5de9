/**
 * When each credential was used, and what is known about its end.
 * Invariant: it names credentials by fingerprints; and a crash loses only what has changed in the last seconds.
 */
import { isObject } from "../is-object.ts";
import { openPeriodicFile, readState } from "./state-file.ts";

const SAVE_INTERVAL_MS = 5_000;

/** Of a credential that nothing has used or configured in this time, nothing is kept. */
const FORGOTTEN_MS = 400 * 86_400_000;

/** Times are ms since the epoch. */
export interface CredentialUse {
  /** The first start with it. */
  readonly since: number;
  /** To the hour. */
  readonly usedAt?: number;
  /** As the upstream reported it. */
  readonly expiresAt?: number;
  /** The last start with it. */
  readonly seenAt: number;
}

export interface CredentialUses {
  of(id: string): CredentialUse | undefined;
  set(id: string, use: CredentialUse): void;
  /** Writes pending changes. @throws node:fs's error. */
  close(): Promise<void>;
}

/** In memory. @param onChange called after each change. */
export function createCredentialUses(
  initial: Iterable<readonly [id: string, use: CredentialUse]> = [],
  { onChange = () => {}, close = async () => {} }: { onChange?: () => void; close?: () => Promise<void> } = {},
): CredentialUses & { entries(): Iterable<readonly [id: string, use: CredentialUse]> } {
  const uses = new Map(initial);
  return {
    of: (id) => uses.get(id),
    set(id, use) {
      uses.set(id, use);
      onChange();
    },
    entries: () => uses,
    close,
  };
}

/** @throws StateFileUnusable */
export function openCredentialUses(path: string, onFailure: (error: unknown) => void): CredentialUses {
  const file = openPeriodicFile<CredentialUse>({
    path,
    intervalMs: SAVE_INTERVAL_MS,
    onFailure,
    entries: () => uses.entries(),
  });
  const uses = createCredentialUses(readUses(path), { onChange: file.touch, close: file.close });
  return uses;
}

/** A copy for a process without the lock: changes are not written. @throws StateFileUnusable */
export function readCredentialUses(path: string): CredentialUses {
  return createCredentialUses(readUses(path));
}

function readUses(path: string): (readonly [id: string, use: CredentialUse])[] {
  const oldest = Date.now() - FORGOTTEN_MS;
  return [...(readState(path, isUse)?.entries ?? [])].filter(([, { seenAt }]) => seenAt > oldest);
}

/** ms since the epoch (ECMA-262 section 21.4.1.1). */
const LAST_TIME = 8.64e15;

function isUse(value: unknown): value is CredentialUse {
  if (!isObject(value)) return false;
  const { since, seenAt, usedAt = 0, expiresAt = 0 } = value;
  return [since, seenAt, usedAt, expiresAt].every((time) => typeof time === "number" && Math.abs(time) <= LAST_TIME);
}
