/**
 * When each credential was used, and what is known about its end.
 * Invariant: it names credentials by fingerprints; and a crash loses only what has changed in the last seconds.
 */
import { isObject } from "../is-object.ts";
import { openPeriodicFile, readState } from "./state-file.ts";

const SAVE_INTERVAL_MS = 5_000;

/** Of a credential that nothing has used or configured in this time, nothing is kept. */
const FORGOTTEN_MS = 400 * 86_400_000;

/** Of one service: a file may hold another secret each hour. The ones before are kept for an operator who returns to one of them. */
const SECRETS_LIMIT = 8;
const ENTRIES_LIMIT = 10_000;

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
  /** @param id `<service>:<secret>`. */
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
  /** Entries of each service, at most. */
  const counts = new Map<string, number>();
  const count = (id: string) => counts.set(serviceOf(id), (counts.get(serviceOf(id)) ?? 0) + 1);
  for (const id of uses.keys()) count(id);
  function makeRoomFor(id: string): void {
    const service = serviceOf(id);
    if ((counts.get(service) ?? 0) >= SECRETS_LIMIT)
      makeRoom(uses, SECRETS_LIMIT, (each) => serviceOf(each) === service);
    else count(id);
    if (uses.size >= ENTRIES_LIMIT) makeRoom(uses, ENTRIES_LIMIT, () => true);
  }
  return {
    of: (id) => uses.get(id),
    set(id, use) {
      if (!uses.has(id)) makeRoomFor(id);
      uses.set(id, use);
      onChange();
    },
    entries: () => uses,
    close,
  };
}

const serviceOf = (id: string) => id.slice(0, id.lastIndexOf(":"));

/** Deletes what was configured longest ago, until one more entry fits. */
function makeRoom(uses: Map<string, CredentialUse>, limit: number, isCandidate: (id: string) => boolean): void {
  const candidates = [...uses].filter(([id]) => isCandidate(id)).sort(([, a], [, b]) => a.seenAt - b.seenAt);
  for (const [id] of candidates.slice(0, Math.max(0, candidates.length + 1 - limit))) uses.delete(id);
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
