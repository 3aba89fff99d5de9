/**
 * Keys that are issued, changed, rotated and revoked, over REST and by the command line.
 * Invariant: no caller grants more permissions than it holds, judged by the key as it would be after the change; and each change
 * has an audit entry, without the key.
 */

import { GatewayError } from "../errors.ts";
import type { Audit, Author } from "./audit.ts";
import { decideGrant } from "./decide-permission.ts";
import type { StoredKey } from "./issued-key.ts";
import { type Issued, type IssuedKeys, KeyEnded, KeyLimitReached, type ListedKey, type NewKey } from "./issued-keys.ts";
import { readKeyChange, readNewKey, readRotation } from "./read-key.ts";
import { decideForeignKey, decideIssuing, refuseFullFamily } from "./shared-limits.ts";

const KEYS_HINT = "GET /manage/keys, or `byteproxy keys list`, lists the ids of all keys.";

/** All throw a GatewayError: VALIDATION_ERROR, NOT_FOUND, INSUFFICIENT_PERMISSIONS, PRECONDITION_FAILED. */
export interface KeyChanges {
  /** Newest first. */
  list(): Promise<readonly ListedKey[]>;
  read(id: string): ListedKey;
  /** @param wanted the request body. */
  create(wanted: unknown, author: Author): Promise<Issued>;
  change(id: string, wanted: unknown, author: Author): Promise<ListedKey>;
  rotate(id: string, wanted: unknown, author: Author): Promise<Issued>;
  /** Revoking twice changes nothing. */
  revoke(id: string, author: Author): Promise<void>;
}

export function createKeyChanges(issuedKeys: IssuedKeys, audit: Audit): KeyChanges {
  const approveForeign = ({ issued }: Author, change: Parameters<typeof decideForeignKey>[2]) =>
    issued && refuseIf(decideForeignKey(issuedKeys, issued.id, change));
  const read = (id: string) => existing(issuedKeys.get(id));
  /** Keys that issued keys are issuing now: they are in no count yet. */
  let underway = 0;

  async function makeRoom(issuer: string): Promise<void> {
    for (;;) {
      const verdict = decideIssuing(issuedKeys, issuer, underway);
      if (verdict === undefined) return;
      if (verdict instanceof GatewayError) throw verdict;
      if (!(await issuedKeys.deleteEnded(verdict.full))) throw refuseFullFamily();
    }
  }

  async function issue(key: NewKey, author: Author): Promise<Issued> {
    const { issued: holder } = author;
    const create = () => translateErrors(issuedKeys.create(key, (made) => approve(author, made)));
    if (holder === undefined) return create();
    underway += 1;
    try {
      await makeRoom(holder.id);
      return await create();
    } finally {
      underway -= 1;
    }
  }

  return {
    list: issuedKeys.list,
    read,
    async create(wanted, author) {
      const key = { ...readNewKey(wanted), createdBy: author.caller };
      const issued = await issue(key, author);
      await audit.record(author, { action: "key.create", subject: issued.item.id, after: issued.item });
      return issued;
    },
    async change(id, wanted, author) {
      const change = readKeyChange(wanted);
      const before = read(id);
      const approveBoth = (next: StoredKey, present: StoredKey) => {
        // A caller may not change a key that has more permissions than its own either.
        approve(author, { ...next, permissions: present.permissions });
        approve(author, next);
        approveForeign(author, { id, next, present });
      };
      const after = existing(await translateErrors(issuedKeys.update(id, change, approveBoth)));
      await audit.record(author, { action: "key.change", subject: id, before, after });
      return after;
    },
    async rotate(id, wanted, author) {
      const { graceSeconds } = readRotation(wanted);
      const before = read(id);
      // The caller that rotates a key holds it afterwards.
      const approveRotation = (present: StoredKey) => {
        approve(author, present);
        approveForeign(author, { id, next: "rotated", present });
      };
      const issued = existing(await translateErrors(issuedKeys.rotate(id, graceSeconds, approveRotation)));
      await audit.record(author, { action: "key.rotate", subject: id, before, after: issued.item });
      return issued;
    },
    async revoke(id, author) {
      const before = read(id);
      const after = existing(await issuedKeys.revoke(id));
      if (before.revokedAt === null) await audit.record(author, { action: "key.revoke", subject: id, before, after });
    },
  };
}

/** @throws GatewayError INSUFFICIENT_PERMISSIONS */
function approve({ issued }: Author, key: StoredKey): void {
  refuseIf(decideGrant(issued, key));
}

function refuseIf(refusal: GatewayError | undefined): void {
  if (refusal !== undefined) throw refusal;
}

function existing<T>(found: T | undefined): T {
  if (found === undefined)
    throw new GatewayError("NOT_FOUND", { message: "There is no key with this id.", hint: KEYS_HINT });
  return found;
}

async function translateErrors<T>(change: Promise<T>): Promise<T> {
  try {
    return await change;
  } catch (error) {
    if (error instanceof KeyEnded || error instanceof KeyLimitReached) {
      const hint = error instanceof KeyEnded ? "Create another key instead." : "Revoke unused keys.";
      throw new GatewayError("PRECONDITION_FAILED", { message: `Nothing was changed: ${error.message}.`, hint });
    }
    throw error;
  }
}
