/**
 * Who changed what, and when: appended once the change is made, never altered, newest first to whoever asks.
 * Invariant: secrets are masked before an entry is made; and each entry is a line of the log, too.
 */

import type { Journal } from "../stores/journal.ts";
import type { Logger } from "../telemetry/logger.ts";
import { maskTexts } from "../telemetry/redact.ts";
import type { FoundKey } from "./key-index.ts";

/** Whoever makes a change, as far as it is known. */
export interface Author {
  readonly caller: string;
  readonly address: string;
  readonly requestId: string;
  /** The key it is done with; undefined for who may do anything. It is not in the entry. */
  readonly issued?: FoundKey | undefined;
}

export interface AuditEntry extends Omit<Author, "issued"> {
  /** RFC 3339. */
  readonly time: string;
  /** `service.create`, `service.replace`, `service.patch`, `service.delete`, `reload`, `rate-limit.reset`, `quota.reset`, `key.create`, `key.change`, `key.revoke`, `key.rotate`, `key.forget`. */
  readonly action: string;
  /** What it was done to: the key of a service, or the id of an issued key. */
  readonly subject?: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

export interface Audit {
  /** Never fails: the change has been made. What cannot be kept is in the log at least. */
  record(author: Author, change: Omit<AuditEntry, keyof Author | "time">): Promise<void>;
  newest(limit: number): readonly AuditEntry[];
}

/** @param mask replaces every secret that is known. */
export function createAudit(
  journal: Journal<AuditEntry>,
  logger: Pick<Logger, "info" | "error">,
  mask: (text: string) => string,
): Audit {
  return {
    async record({ caller, address, requestId }, change) {
      const entry = { time: new Date().toISOString(), caller, address, requestId, ...change };
      const masked = maskTexts(bounded(entry), mask);
      const { time: _, ...line } = masked;
      logger.info(
        { audit: line },
        `audit: ${change.action}${change.subject === undefined ? "" : ` ${change.subject}`}`,
      );
      await journal.append(masked).catch((error: unknown) => {
        logger.error({ err: error }, "an audit entry could not be kept");
      });
    },
    newest: (limit) => journal.newest(limit),
  };
}

/** What is kept of a state before or after, characters: a thousand entries are kept, and all of them read at the start. */
const STATE_LIMIT = 4_096;

function bounded(entry: AuditEntry): AuditEntry {
  const short = (state: unknown) => {
    const { length } = JSON.stringify(state);
    return length > STATE_LIMIT ? { omitted: `${length} characters` } : state;
  };
  const { before, after, ...rest } = entry;
  return {
    ...rest,
    ...(before === undefined ? {} : { before: short(before) }),
    ...(after === undefined ? {} : { after: short(after) }),
  };
}
