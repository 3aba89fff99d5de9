/** Which credential of a pool a request uses: in `hold` mode by its queue, otherwise by what the responses have reported. */
import type { CredentialPool, PoolMember } from "../credential/credential-provider.ts";
import type { CredentialAccount, CredentialAccounts } from "./credential-accounts.ts";
import type { HoldingAccount } from "./passes.ts";
import type { PoolChoice } from "./pool-members.ts";
import { compareLeft } from "./pooled-account.ts";
import type { QuotaRoute } from "./rules.ts";
import type { QuotaRequest } from "./ticket.ts";

/** @param pinned used as long as it can be. */
export function poolAccount(
  accounts: CredentialAccounts,
  pool: CredentialPool,
  pinned: PoolMember | undefined,
): HoldingAccount {
  const { pooled } = accounts;
  const choiceFor = (request: QuotaRequest): PoolChoice =>
    pinned === undefined
      ? pool
      : new PinnedChoice(pool, pinned, () => accounts.ofMember(pinned).quota.pooled.isFree(request));
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

/** One credential as long as it can send the request: no request waits for it. */
class PinnedChoice implements PoolChoice {
  readonly id: string;
  readonly #isFree: () => boolean;
  readonly #pool: CredentialPool;
  readonly #pinned: PoolMember;

  constructor(pool: CredentialPool, pinned: PoolMember, isFree: () => boolean) {
    this.#isFree = isFree;
    this.id = `${pool.id}\n${pinned.sourceId}`;
    this.#pool = pool;
    this.#pinned = pinned;
  }

  get changesAt(): number {
    return this.#pool.changesAt;
  }

  usable(): readonly PoolMember[] {
    const usable = this.#pool.usable();
    return usable.includes(this.#pinned) && this.#isFree() ? [this.#pinned] : usable;
  }

  noteChosen(member: PoolMember): void {
    this.#pool.noteChosen(member);
  }
}

export interface ObservedRequest {
  readonly method: string;
  readonly path: string;
  readonly pinned: PoolMember | undefined;
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
  { route, pinned }: RoutedRequest,
): readonly [PoolMember, ...PoolMember[]] {
  accounts.ofPool(pool);
  const usable = pool.usable();
  if (pinned !== undefined && usable.includes(pinned)) return [pinned];
  const ranked = usable
    .map((member) => ({ member, left: accounts.ofMember(member).quota.pooled.leftUnreported(route) }))
    // A sort keeps the order of equals.
    .sort((a, b) => compareLeft(a.left, b.left))
    .map(({ member }) => member);
  return ranked as [PoolMember, ...PoolMember[]];
}
