/** The credentials that a request of a pool may use, compared: which has the most left, and when one of them can send the request. */
import type { PoolMember, UsableLater } from "../credential/credential-provider.ts";
import { MergedTimes } from "./merged-times.ts";
import { compareLeft, type PooledAccount, type QuotaLeft } from "./pooled-account.ts";
import type { QuotaRequest } from "./ticket.ts";

/** The credentials that a request may use. */
export interface PoolChoice {
  /** Equal for the same choice. */
  readonly id: string;
  /** Not empty while some credentials rest for the caller only. */
  readonly variant: string;
  /** When `usable` changes by itself, ms since the epoch. */
  readonly changesAt: number;
  /** At least one; among equals the first is used. */
  usable(): readonly PoolMember[];
  /** Those that rest. */
  usableLater(): readonly UsableLater[];
  noteChosen(member: PoolMember): void;
}

type Members = readonly [PoolMember, ...PoolMember[]];

/** The one with the most left first; of those with something left, one whose secret is still to be obtained last. */
export function rankMembers(members: readonly PoolMember[], leftOf: (member: PoolMember) => QuotaLeft): Members {
  const ranked = members
    .map((member) => ({ member, left: leftOf(member), isPending: member.provider.isPending?.() ?? false }))
    // A sort keeps the order of equals.
    .sort((a, b) => {
      const isByPending = a.isPending !== b.isPending && a.left.requests > 0 && b.left.requests > 0;
      return isByPending ? Number(a.isPending) - Number(b.isPending) : compareLeft(a.left, b.left);
    })
    .map(({ member }) => member);
  return ranked as [PoolMember, ...PoolMember[]];
}

export class PoolMembers {
  readonly accountOf: (member: PoolMember) => PooledAccount;

  constructor(accountOf: (member: PoolMember) => PooledAccount) {
    this.accountOf = accountOf;
  }

  /** The one with the most left first. */
  ranked({ route }: QuotaRequest, choice: PoolChoice): Members {
    return rankMembers(choice.usable(), (member) => this.accountOf(member).left(route));
  }

  /** The one that would be used: of those that are free first, the one with the most left. */
  next(request: QuotaRequest, choice: PoolChoice, now: number): PoolMember {
    const freeAt = (member: PoolMember) => Math.max(now, this.accountOf(member).freeAt(request));
    return this.ranked(request, choice).reduce((a, b) => (freeAt(b) < freeAt(a) ? b : a));
  }

  /** When one of them may send one more request, ms since the epoch; infinity if that depends on a response. */
  freeAt(request: QuotaRequest, choice: PoolChoice): number {
    const later = choice.usableLater().map(({ member, at }) => Math.max(at, this.accountOf(member).freeAt(request)));
    return Math.min(...choice.usable().map((member) => this.accountOf(member).freeAt(request)), ...later);
  }

  timesOf(request: QuotaRequest, choice: PoolChoice): MergedTimes {
    const usable = choice.usable();
    const now = usable.map((member) => ({ member, at: 0 }));
    // If all rest, one of them is usable, too.
    const later = choice.usableLater().filter(({ member }) => !usable.includes(member));
    const times = [...now, ...later].map(({ member, at }) => {
      const estimate = this.accountOf(member).estimates(request);
      return (ahead: number) => Math.max(at, estimate(ahead));
    });
    return new MergedTimes(times);
  }

  bucketOf({ route }: QuotaRequest, choice: PoolChoice): string {
    return this.#first(choice).bucketOf(route);
  }

  /** Equal for requests that wait for the same credentials and buckets. */
  lineOf(request: QuotaRequest, choice: PoolChoice): string {
    return `${choice.id}${choice.variant}\n${this.#first(choice).lineOf(request)}`;
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
