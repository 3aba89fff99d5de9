/**
 * The credentials of a pool, and which of them may be used now.
 * Invariant: a credential that the upstream refused is used again only after its rest, or where all of them rest; and the order among
 * equals is a round, so that no credential is preferred.
 */
import type {
  CredentialPool,
  Injection,
  MemberHistory,
  PoolMember,
  PoolMemberState,
  PoolMemory,
} from "./credential-provider.ts";

export interface PoolOptions {
  readonly restMs: number;
  /** ms since the epoch. */
  readonly now: () => number;
  /** Called when a rest begins. */
  readonly onRest: (member: PoolMember) => void;
}

export class RestingPool implements CredentialPool {
  readonly id: string;
  readonly members: readonly PoolMember[];
  readonly memory: PoolMemory;
  readonly #options: PoolOptions;

  /** @param members with different source ids, at least one. @param earlier of the pool that this one replaces. */
  constructor(members: readonly PoolMember[], options: PoolOptions, earlier?: PoolMemory) {
    this.members = members;
    this.#options = options;
    this.id = members.map(({ sourceId }) => sourceId).join();
    const histories = new Map<string, MemberHistory>();
    for (const { sourceId } of members) {
      // The same object: an exchange that uses the earlier pool may still be in flight.
      histories.set(sourceId, earlier?.histories.get(sourceId) ?? { restsUntil: 0, refusals: 0 });
    }
    this.memory = { histories, last: earlier?.last };
  }

  /**
   * Those that may be used, in the order in which equal ones are. If all rest, the one whose rest ends first: a caller could cause
   * refusals, and must not stop the service for the others. If none has a secret now, all of them: obtaining it gives the reason.
   */
  usable(): readonly PoolMember[] {
    const available = this.#inRound().filter(({ provider }) => provider.missing === undefined);
    if (available.length === 0) return this.members;
    const now = this.#options.now();
    const ready = available.filter((member) => this.historyOf(member).restsUntil <= now);
    if (ready.length > 0) return ready;
    return [available.reduce((a, b) => (this.historyOf(b).restsUntil < this.historyOf(a).restsUntil ? b : a))];
  }

  get changesAt(): number {
    const now = this.#options.now();
    let at = Number.POSITIVE_INFINITY;
    for (const { restsUntil } of this.memory.histories.values()) if (restsUntil > now) at = Math.min(at, restsUntil);
    return at;
  }

  noteChosen({ sourceId }: PoolMember): void {
    this.memory.last = sourceId;
  }

  choose(): PoolMember {
    const [member] = this.usable() as readonly [PoolMember];
    this.noteChosen(member);
    return member;
  }

  /** It rests. One that can be renewed is renewed, and rests only until then. */
  refused(member: PoolMember, injection: Injection): Promise<void> | undefined {
    const state = this.historyOf(member);
    const now = this.#options.now();
    const until = now + this.#options.restMs;
    const wasResting = state.restsUntil > now;
    state.restsUntil = until;
    state.refusals++;
    if (!wasResting) this.#options.onRest(member);
    const begun = member.provider.renew?.(injection);
    // Of a credential in a pool, no rotation changes the secret.
    const renewal = begun instanceof Promise ? begun : undefined;
    const renewed = renewal?.then(async () => {
      const isRenewed = await this.#isOther(member, injection);
      if (isRenewed && state.restsUntil === until) state.restsUntil = 0;
    });
    const hasOther = this.usable().some((other) => other !== member && this.stateOf(other) === "ready");
    return hasOther ? Promise.resolve() : renewed;
  }

  stateOf(member: PoolMember): PoolMemberState {
    if (member.provider.missing !== undefined) return "unavailable";
    return this.historyOf(member).restsUntil > this.#options.now() ? "resting" : "ready";
  }

  async #isOther({ provider }: PoolMember, refused: Injection): Promise<boolean> {
    try {
      return (await provider.get()) !== refused;
    } catch {
      return false;
    }
  }

  /** Beginning after the one that was chosen last. */
  #inRound(): readonly PoolMember[] {
    const start = this.members.findIndex(({ sourceId }) => sourceId === this.memory.last) + 1;
    return [...this.members.slice(start), ...this.members.slice(0, start)];
  }

  historyOf({ sourceId }: PoolMember): MemberHistory {
    return this.memory.histories.get(sourceId) as MemberHistory;
  }
}
