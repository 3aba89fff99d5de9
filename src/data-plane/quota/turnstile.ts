/**
 * Lets a request through where everything allows it: gates, bucket and every account of the ledger.
 * Invariant: whoever goes through is counted in the bucket and at the gates until the ticket ends, and the ticket ends once.
 */
import type { Reserved } from "./accounts.ts";
import type { Bucket } from "./bucket.ts";
import type { Costs } from "./gates.ts";
import { learnAnswer, type QuotaParts } from "./learn-answer.ts";
import type { QuotaRequest, Ticket } from "./ticket.ts";
import type { Waiting } from "./waiting-room.ts";

interface Passing {
  readonly request: QuotaRequest;
  readonly costs: Costs;
  /** When it began to wait, ms since the epoch. */
  readonly since: number;
}

export interface TurnstileOptions {
  readonly parts: QuotaParts<Waiting>;
  /** ms since the epoch. */
  readonly now: () => number;
  /** A ticket has ended, and what it taught is known. */
  readonly onEnd: (bucket: Bucket<Waiting>) => void;
}

export class Turnstile {
  readonly #options: TurnstileOptions;

  constructor(options: TurnstileOptions) {
    this.#options = options;
  }

  /** @returns a ticket, or when to ask again, which is later than now; ms since the epoch. */
  async take(bucket: Bucket<Waiting>, passing: Passing): Promise<Ticket | number> {
    const { accounts, gates } = this.#options.parts;
    const now = this.#options.now();
    const at = this.freeAt(bucket, passing.costs, now);
    if (at > now) return at;
    const keys: string[] = [];
    for (const { name, isRefilling } of bucket.windows) if (!isRefilling) keys.push(accounts.keyOf(bucket.key, name));
    const { changes } = bucket;
    const reserved = await accounts.reserve(keys, passing.request.leaseMs, now);
    if (typeof reserved === "number") {
      if (changes === bucket.changes) bucket.askAgainAt = reserved;
      return reserved;
    }
    // Others may have gone while the ledger was asked, and an answer may have come.
    const atNow = this.freeAt(bucket, passing.costs, now);
    if (atNow > now || bucket.mergedInto !== undefined) {
      accounts.release(reserved, now);
      return Math.max(atNow, now + 1);
    }
    const sentAt = this.#options.now();
    gates.enter(passing.costs, sentAt);
    bucket.grant(sentAt);
    return this.#ticket(bucket, passing, reserved, sentAt);
  }

  /** What everything but the ledger says, ms since the epoch. */
  freeAt(bucket: Bucket<Waiting>, costs: Costs, now: number): number {
    return Math.max(this.#options.parts.gates.freeAt(costs, now), bucket.freeAt(now));
  }

  #ticket(taken: Bucket<Waiting>, { request, costs, since }: Passing, reserved: Reserved, sentAt: number): Ticket {
    const { parts, now, onEnd } = this.#options;
    const { accounts, gates, rules } = parts;
    const before = { sent: taken.sent, inFlight: taken.inFlight - 1 };
    let isOver = false;
    const end = (how: "answered" | "lost" | "unused", settle: (bucket: Bucket<Waiting>) => Bucket<Waiting>) => {
      if (isOver) return;
      isOver = true;
      const counted = settle(realOf(taken));
      // What it was counted in may have been found to be another one by its own answer.
      realOf(taken).end(how, now());
      gates.leave();
      onEnd(counted);
    };
    return {
      waitedMs: sentAt - since,
      answered: (status, reading) =>
        end("answered", (bucket) => {
          const route = rules.routeOf(request.method, request.path);
          const overlapping = before.inFlight + Math.max(0, bucket.sent - before.sent);
          return learnAnswer(bucket, { route, status, reading, reserved, sentAt, overlapping }, parts, now());
        }),
      lost: () =>
        end("lost", (bucket) => {
          for (const [key, id] of reserved) accounts.settle(key, id, undefined, now());
          return bucket;
        }),
      unused: () =>
        end("unused", (bucket) => {
          accounts.release(reserved, now());
          gates.giveBack(costs, sentAt);
          return bucket;
        }),
    };
  }
}

function realOf(bucket: Bucket<Waiting>): Bucket<Waiting> {
  let real = bucket;
  while (real.mergedInto !== undefined) real = real.mergedInto;
  return real;
}
