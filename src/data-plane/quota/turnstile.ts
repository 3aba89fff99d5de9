/**
 * Issues a ticket when the gates, the bucket and every ledger account allow the request.
 * Invariant: a request with a ticket is counted in its bucket and at the gates until the ticket ends, and each ticket ends once.
 */
import type { Bucket } from "./bucket.ts";
import type { Costs } from "./gates.ts";
import { forgetHolds, learnResponse, type QuotaParts, type Reserved } from "./learn.ts";
import type { QuotaRequest, Ticket } from "./ticket.ts";

interface Passing {
  readonly request: QuotaRequest;
  readonly costs: Costs;
  /** When it began to wait, ms since the epoch. */
  readonly since: number;
}

interface Passed {
  readonly reserved: Reserved;
  readonly sentAt: number;
  /** It was sent despite a long hold. */
  readonly isTrial: boolean;
}

export interface TurnstileOptions {
  readonly parts: QuotaParts;
  /** ms since the epoch. */
  readonly now: () => number;
  /** Called after a ticket has ended and its response was learned from. */
  readonly onEnd: (bucket: Bucket) => void;
}

export class Turnstile {
  readonly #options: TurnstileOptions;

  constructor(options: TurnstileOptions) {
    this.#options = options;
  }

  /** @returns a ticket, or a later time to ask again, ms since the epoch. */
  async take(bucket: Bucket, passing: Passing): Promise<Ticket | number> {
    const { accounts, gates } = this.#options.parts;
    const now = this.#options.now();
    const at = this.freeAt(bucket, passing.costs, now);
    if (at > now) return at;
    const keys: string[] = [];
    for (const { name, isRefilling } of bucket.windows) if (!isRefilling) keys.push(accounts.keyOf(bucket.key, name));
    const { changes } = bucket;
    const answer = await accounts.reserve(keys, passing.request.leaseMs, now);
    // A trial has no reservation: the account that refuses it may be wrong.
    const askAgainAt = typeof answer === "number" ? bucket.trialOr(answer, now) : 0;
    if (askAgainAt > now) {
      if (changes === bucket.changes) bucket.askAgainAt = askAgainAt;
      return askAgainAt;
    }
    const reserved: Reserved = typeof answer === "number" ? new Map() : answer;
    const isTrial = typeof answer === "number" || Math.max(bucket.closedUntil, gates.closedUntil) > now;
    // While the ledger was asked, other requests may have been sent, and a response may have come.
    const atNow = this.freeAt(bucket, passing.costs, now);
    if (atNow > now || bucket.mergedInto !== undefined) {
      accounts.release(reserved, now);
      return Math.max(atNow, now + 1);
    }
    const sentAt = this.#options.now();
    gates.enter(passing.costs, sentAt);
    bucket.grant(sentAt);
    return this.#ticket(bucket, passing, { reserved, sentAt, isTrial });
  }

  /** When everything but the ledger allows the request, ms since the epoch. */
  freeAt(bucket: Bucket, costs: Costs, now: number): number {
    return Math.max(this.#options.parts.gates.freeAt(costs, now), bucket.freeAt(now));
  }

  #ticket(taken: Bucket, { request, costs, since }: Passing, { reserved, sentAt, isTrial }: Passed): Ticket {
    const { parts, now, onEnd } = this.#options;
    const { accounts, gates } = parts;
    const before = { sent: taken.sent, inFlight: taken.inFlight - 1 };
    let isOver = false;
    const end = (how: "responded" | "lost" | "unused", settle: (bucket: Bucket) => Bucket) => {
      if (isOver) return;
      isOver = true;
      const counted = settle(realOf(taken));
      // Its own response may have shown that it was counted in another bucket.
      realOf(taken).end(how, now());
      gates.leave();
      onEnd(counted);
    };
    return {
      waitedMs: sentAt - since,
      responded: (response) =>
        end("responded", (bucket) => {
          const overlapping = before.inFlight + Math.max(0, bucket.sent - before.sent);
          if (isTrial && response.status < 500) forgetHolds(bucket, parts);
          return learnResponse(bucket, { route: request.route, response, reserved, sentAt, overlapping }, parts, now());
        }),
      lost: () =>
        end("lost", (bucket) => {
          for (const [key, id] of reserved) accounts.settle(key, id, undefined, now());
          return bucket;
        }),
      unused: () =>
        end("unused", (bucket) => {
          accounts.release(reserved, now());
          gates.refund(costs, sentAt);
          return bucket;
        }),
    };
  }
}

function realOf(bucket: Bucket): Bucket {
  let real = bucket;
  while (real.mergedInto !== undefined) real = real.mergedInto;
  return real;
}
