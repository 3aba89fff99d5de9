/** The credentials that a request of a pool may use, compared: which has the most left, and when one of them can send the request. */
import type { PoolMember } from "../credential/credential-provider.ts";
import { MergedTimes } from "./merged-times.ts";
import { compareLeft, type PooledAccount } from "./pooled-account.ts";
import type { QuotaRequest } from "./ticket.ts";

/** The credentials that a request may use. */
export interface PoolChoice {
  /** Equal for the same choice. */
  readonly id: string;
  /** When `usable` changes by itself, ms since the epoch. */
  readonly changesAt: number;
  /** At least one; among equals the first is used. */
  usable(): readonly PoolMember[];
  noteChosen(member: PoolMember): void;
}

type Members = readonly [PoolMember, ...PoolMember[]];

export class PoolMembers {
  readonly accountOf: (member: PoolMember) => PooledAccount;

  constructor(accountOf: (member: PoolMember) => PooledAccount) {
    this.accountOf = accountOf;
  }

  /** The one with the most left first. */
  ranked({ route }: QuotaRequest, choice: PoolChoice): Members {
    const ranked = choice
      .usable()
      .map((member) => ({ member, left: this.accountOf(member).left(route) }))
      // A sort keeps the order of equals.
      .sort((a, b) => compareLeft(a.left, b.left))
      .map(({ member }) => member);
    return ranked as [PoolMember, ...PoolMember[]];
  }

  /** The one that would be used: of those that are free first, the one with the most left. */
  next(request: QuotaRequest, choice: PoolChoice, now: number): PoolMember {
    const freeAt = (member: PoolMember) => Math.max(now, this.accountOf(member).freeAt(request));
    return this.ranked(request, choice).reduce((a, b) => (freeAt(b) < freeAt(a) ? b : a));
  }

  /** When one of them may send one more request, ms since the epoch; infinity if that depends on a response. */
  freeAt(request: QuotaRequest, choice: PoolChoice): number {
    return Math.min(...choice.usable().map((member) => this.accountOf(member).freeAt(request)));
  }

  timesOf(request: QuotaRequest, choice: PoolChoice): MergedTimes {
    return new MergedTimes(choice.usable().map((member) => this.accountOf(member).estimates(request)));
  }

  bucketOf({ route }: QuotaRequest, choice: PoolChoice): string {
    return this.#first(choice).bucketOf(route);
  }

  /** Equal for requests that wait for the same credentials and buckets. */
  lineOf(request: QuotaRequest, choice: PoolChoice): string {
    return `${choice.id}\n${this.#first(choice).lineOf(request)}`;
  }

  /** Equal for requests that always wait for the same: it does not change when a bucket gets another name. */
  kindOf(request: QuotaRequest, choice: PoolChoice): string {
    const { name, major } = request.route;
    return `${choice.id}\n${name}\n${major}\n${this.#first(choice).laneOf(request)}`;
  }

  #first(choice: PoolChoice): PooledAccount {
    const [member] = choice.usable() as Members;
    return this.accountOf(member);
  }
}
