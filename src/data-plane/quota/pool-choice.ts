/** Which credential of a pool a request uses: in `hold` mode by its queue, otherwise by what the responses have reported. */
import type { CredentialPool, PoolMember, UsableLater } from "../credential/credential-provider.ts";
import type { CredentialAccount, CredentialAccounts } from "./credential-accounts.ts";
import type { HoldingAccount } from "./passes.ts";
import { type PoolChoice, rankMembers } from "./pool-members.ts";
import type { QuotaRoute } from "./rules.ts";
import type { QuotaRequest } from "./ticket.ts";

/** The caller for which a credential is chosen. */
export interface PoolClient {
  /** The caller; empty where there is only one. */
  readonly voter: string;
  /** Used as long as it can be. */
  readonly pinned: PoolMember | undefined;
}

export function poolAccount(
  accounts: CredentialAccounts,
  pool: CredentialPool,
  { voter, pinned }: PoolClient,
): HoldingAccount {
  const { pooled } = accounts;
  const choiceFor = (request: QuotaRequest): PoolChoice => {
    const own = new OwnChoice(pool, voter);
    if (pinned === undefined) return own;
    return new PinnedChoice(own, pinned, () => accounts.ofMember(pinned).quota.pooled.isFree(request));
  };
  return {
    ready: allReady(accounts.ofPool(pool)),
    quota: {
      decide: (request) => pooled.decide(request, choiceFor(request)),
      admit: (request, onQueued) => pooled.admit(request, choiceFor(request), onQueued),
    },
  };
}

async function allReady(opened: readonly CredentialAccount[]): Promise<void> {
  for (const { ready } of opened) await ready;
}

/** Without those that rest for the caller. */
export class OwnChoice implements PoolChoice {
  readonly #pool: CredentialPool;
  readonly #voter: string;

  constructor(pool: CredentialPool, voter: string) {
    this.#pool = pool;
    this.#voter = voter;
  }

  get id(): string {
    return this.#pool.id;
  }

  get variant(): string {
    return this.#pool.restsFor(this.#voter) ? `\n${this.#voter}` : "";
  }

  get changesAt(): number {
    return this.#pool.changesAt;
  }

  usable(): readonly PoolMember[] {
    return this.#pool.usable(this.#voter);
  }

  usableLater(): readonly UsableLater[] {
    return this.#pool.usableLater(this.#voter);
  }

  noteChosen(member: PoolMember): void {
    this.#pool.noteChosen(member);
  }
}

/** One credential as long as it can send the request: no request waits for it. */
class PinnedChoice implements PoolChoice {
  readonly id: string;
  readonly #isFree: () => boolean;
  readonly #pool: PoolChoice;
  readonly #pinned: PoolMember;

  constructor(pool: PoolChoice, pinned: PoolMember, isFree: () => boolean) {
    this.#isFree = isFree;
    this.id = `${pool.id}\n${pinned.sourceId}`;
    this.#pool = pool;
    this.#pinned = pinned;
  }

  get changesAt(): number {
    return this.#pool.changesAt;
  }

  get variant(): string {
    return this.#pool.variant;
  }

  usable(): readonly PoolMember[] {
    const usable = this.#pool.usable();
    return isThere(this.#pinned, usable) && this.#isFree() ? [this.#pinned] : usable;
  }

  usableLater(): readonly UsableLater[] {
    return this.#pool.usableLater();
  }

  noteChosen(member: PoolMember): void {
    this.#pool.noteChosen(member);
  }
}

const isThere = (pinned: PoolMember, usable: readonly PoolMember[]) =>
  usable.includes(pinned) && !pinned.provider.isPending?.();

export interface ObservedRequest extends PoolClient {
  readonly method: string;
  readonly path: string;
}

type RoutedRequest = ObservedRequest & { readonly route: QuotaRoute };

/** Without reservations: requests that were sent since the last report count as spent. */
export function chooseObserved(accounts: CredentialAccounts, pool: CredentialPool, asking: RoutedRequest): PoolMember {
  const [member] = rankObserved(accounts, pool, asking);
  pool.noteChosen(member);
  accounts.ofMember(member).quota.pooled.noteUnreported(asking.route);
  return member;
}

/** The one to use first. */
export function rankObserved(
  accounts: CredentialAccounts,
  pool: CredentialPool,
  { route, pinned, voter }: RoutedRequest,
): readonly [PoolMember, ...PoolMember[]] {
  accounts.ofPool(pool);
  const usable = pool.usable(voter);
  if (pinned !== undefined && isThere(pinned, usable)) return [pinned];
  return rankMembers(usable, (member) => accounts.ofMember(member).quota.pooled.leftUnreported(route));
}
