/**
 * The audit: which caller changed what, and when. An entry is appended after the change, and is never altered.
 * Invariant: secrets are masked before an entry is stored, and each entry is also a line of the log.
 */
import type { Journal } from "../stores/journal.ts";
import type { Logger } from "../telemetry/logger.ts";
import { maskTexts } from "../telemetry/redact.ts";
import type { FoundKey } from "./key-index.ts";

/** The caller that makes a change, as far as it is known. */
export interface Author {
  readonly caller: string;
  readonly address: string;
  readonly requestId: string;
  /** The issued key that the caller presented; undefined for a caller with all permissions. It is not part of the entry. */
  readonly issued?: FoundKey | undefined;
}

export interface AuditEntry extends Omit<Author, "issued"> {
  /** RFC 3339. */
  readonly time: string;
  /** `service.create`, `service.replace`, `service.patch`, `service.delete`, `reload`, `rate-limit.reset`, `quota.reset`, `cache.clear`, `credential.refresh`, `credential.rotate`, `credential.promote`, `credential.roll-back`, `credential.cancel`, `credential.login`, `credential.logout`, `key.create`, `key.change`, `key.revoke`, `key.rotate`, `key.forget`. */
  readonly action: string;
  /** What was changed: the key of a service, or the id of an issued key. */
  readonly subject?: string;
  readonly before?: unknown;
  readonly after?: unknown;
}

export interface Audit {
  /** Never rejects, because the change has been made. An entry that cannot be stored is in the log. */
  record(author: Author, change: Omit<AuditEntry, keyof Author | "time">): Promise<void>;
  newest(limit: number): readonly AuditEntry[];
}

/** @param mask replaces every known secret. @param onEntry called with each entry, masked. */
export function createAudit(
  journal: Journal<AuditEntry>,
  logger: Pick<Logger, "info" | "error">,
  mask: (text: string) => string,
  onEntry: (entry: AuditEntry) => void = () => {},
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
      onEntry(masked);
      await journal.append(masked).catch((error: unknown) => {
        logger.error({ err: error }, "an audit entry could not be stored");
      });
    },
    newest: (limit) => journal.newest(limit),
  };
}

/** Characters of a state before or after a change: a thousand entries are kept, and a start reads them all. */
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
