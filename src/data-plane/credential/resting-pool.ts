/**
 * The credentials of a pool, and which of them may be used now.
 * Invariant: a credential that the upstream refused is used again only after its rest, or where all of them rest; refusals of one caller's
 * requests let it rest for this caller only; and the order among equals is a round, so that no credential is preferred.
 */
import type {
  CredentialPool,
  DescribedMember,
  Injection,
  MemberHistory,
  PoolMember,
  PoolMemberState,
  PoolMemory,
  UsableLater,
} from "./credential-provider.ts";

export interface PoolOptions {
  readonly isRequired: boolean;
  readonly restMs: number;
  /** ms since the epoch. */
  readonly now: () => number;
  /** Called when a rest begins. */
  readonly onRest: (member: PoolMember, callers: "one" | "all") => void;
}

/** After this time, requests wait for the quota of others rather than for the source of this secret, ms. */
const SLOW_MS = 500;

/** A source that failed may be asked again without a sign of it, ms. */
const UNAVAILABLE_MS = 1_000;

export class RestingPool implements CredentialPool {
  readonly id: string;
  readonly isRequired: boolean;
  readonly members: readonly PoolMember[];
  readonly memory: PoolMemory;
  readonly #options: PoolOptions;
  /** With the time at which it began, ms since the epoch. */
  readonly #obtaining = new Map<PoolMember, { readonly since: number; readonly over: Promise<void> }>();

  /** @param members with different source ids, at least one. @param earlier of the pool that this one replaces. */
  constructor(members: readonly PoolMember[], options: PoolOptions, earlier?: PoolMemory) {
    this.members = members;
    this.#options = options;
    this.isRequired = options.isRequired;
    this.id = members.map(({ sourceId }) => sourceId).join();
    const histories = new Map<string, MemberHistory>();
    for (const { sourceId } of members) {
      // The same object: an exchange that uses the earlier pool may still be in flight.
      histories.set(
        sourceId,
        earlier?.histories.get(sourceId) ?? { restsUntil: 0, refusals: 0, refusedFor: undefined },
      );
    }
    this.memory = {
      histories,
      last: earlier?.last,
      restsForOne: earlier?.restsForOne ?? { until: 0 },
      onUsable: earlier?.onUsable ?? (() => {}),
    };
  }

  /**
   * Those that may be used, in the order in which equal ones are. If all rest, the one whose rest ends first: a caller could cause
   * refusals, and must not stop the service for the others. If none has a secret now, all of them: obtaining it gives the reason.
   */
  usable(voter = ""): readonly PoolMember[] {
    const available = this.#inRound().filter(({ provider }) => provider.missing === undefined);
    if (available.length === 0) return this.members;
    const now = this.#options.now();
    const ready = available.filter((member) => this.#restEnd(member, voter) <= now);
    const prompt = ready.filter((member) => now - (this.#obtaining.get(member)?.since ?? now) < SLOW_MS);
    if (ready.length > 0) return prompt.length > 0 ? prompt : ready;
    return [available.reduce((a, b) => (this.#restEnd(b, voter) < this.#restEnd(a, voter) ? b : a))];
  }

  usableLater(voter = ""): readonly UsableLater[] {
    const now = this.#options.now();
    return this.members
      .filter(({ provider }) => provider.missing === undefined)
      .map((member) => ({ member, at: this.#restEnd(member, voter) }))
      .filter(({ at }) => at > now);
  }

  restsFor(voter: string): boolean {
    const now = this.#options.now();
    if (voter === "" || this.memory.restsForOne.until <= now) return false;
    for (const { refusedFor } of this.memory.histories.values()) {
      if (refusedFor?.voter === voter && refusedFor.until > now) return true;
    }
    return false;
  }

  get changesAt(): number {
    const now = this.#options.now();
    let at = this.members.some(({ provider }) => provider.missing !== undefined)
      ? now + UNAVAILABLE_MS
      : Number.POSITIVE_INFINITY;
    for (const { restsUntil, refusedFor } of this.memory.histories.values()) {
      for (const end of [restsUntil, refusedFor?.until ?? 0]) if (end > now) at = Math.min(at, end);
    }
    return at;
  }

  noteChosen(member: PoolMember): void {
    this.memory.last = member.sourceId;
    for (const other of this.members) if (other.provider.isPending?.()) void this.#obtain(other);
  }

  choose(voter = ""): PoolMember {
    const usable = this.usable(voter) as readonly [PoolMember];
    const member = usable.find(({ provider }) => !provider.isPending?.()) ?? usable[0];
    this.noteChosen(member);
    return member;
  }

  async obtainOther(than: PoolMember, voter: string, isPatient: boolean): Promise<void> {
    const others = this.members.filter((other) => other !== than && this.stateOf(other, voter) === "ready");
    const pause = new Promise<void>((resolve) => {
      if (isPatient) setTimeout(resolve, SLOW_MS).unref();
      else resolve();
    });
    await new Promise<void>((resolve) => {
      const isThere = ({ provider }: PoolMember) => provider.missing === undefined && !provider.isPending?.();
      for (const other of others) void this.#obtain(other).then(() => isThere(other) && resolve());
    });
    await pause;
  }

  /** It rests. One that can be renewed is renewed, and rests only until then. */
  refused(member: PoolMember, injection: Injection, voter = ""): Promise<void> | undefined {
    const state = this.#historyOf(member);
    const now = this.#options.now();
    const until = now + this.#options.restMs;
    state.refusals++;
    this.#rest(member, { voter, now, until });
    // If it was the last one that did not rest, another one may be used again.
    this.memory.onUsable();
    const begun = member.provider.renew?.(injection);
    // Of a credential in a pool, no rotation changes the secret.
    const renewal = begun instanceof Promise ? begun : undefined;
    const renewed = renewal?.then(async () => {
      const isRenewed = await this.#isOther(member, injection);
      if (!isRenewed) return;
      if (state.restsUntil === until) state.restsUntil = 0;
      if (state.refusedFor?.until === until) state.refusedFor = undefined;
      this.memory.onUsable();
    });
    const hasOther = this.usable(voter).some((other) => other !== member && this.stateOf(other, voter) === "ready");
    return hasOther ? Promise.resolve() : renewed;
  }

  /** A caller could cause refusals by itself: for all of them it rests when the requests of a second one are refused. */
  #rest(member: PoolMember, { voter, now, until }: { voter: string; now: number; until: number }): void {
    const state = this.#historyOf(member);
    const wasResting = state.restsUntil > now;
    const { refusedFor } = state;
    const isOnly = refusedFor === undefined || refusedFor.until <= now || refusedFor.voter === voter;
    if (voter !== "" && isOnly && !wasResting) {
      if (refusedFor?.voter !== voter || refusedFor.until <= now) this.#options.onRest(member, "one");
      state.refusedFor = { voter, until };
      this.memory.restsForOne.until = until;
      return;
    }
    state.refusedFor = undefined;
    state.restsUntil = until;
    if (!wasResting) this.#options.onRest(member, "all");
  }

  /** Never rejects. One at a time for each. */
  #obtain(member: PoolMember): Promise<void> {
    const running = this.#obtaining.get(member);
    if (running !== undefined) return running.over;
    const since = this.#options.now();
    const over = (async () => {
      try {
        await member.provider.get();
      } catch {
        // A request that uses it reports the reason.
      } finally {
        // Also where nothing was awaited: then it is not in the map yet.
        await Promise.resolve();
        this.#obtaining.delete(member);
        this.memory.onUsable();
      }
    })();
    this.#obtaining.set(member, { since, over });
    return over;
  }

  #restEnd(member: PoolMember, voter = ""): number {
    const { restsUntil, refusedFor } = this.#historyOf(member);
    return voter !== "" && refusedFor?.voter === voter ? Math.max(restsUntil, refusedFor.until) : restsUntil;
  }

  stateOf(member: PoolMember, voter = ""): PoolMemberState {
    if (member.provider.missing !== undefined) return "unavailable";
    return this.#restEnd(member, voter) > this.#options.now() ? "resting" : "ready";
  }

  describe(member: PoolMember): DescribedMember {
    const { refusals, refusedFor } = this.#historyOf(member);
    const state = this.stateOf(member, refusedFor?.voter);
    return { state, restsUntil: state === "resting" ? this.#restEnd(member, refusedFor?.voter) : undefined, refusals };
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

  #historyOf({ sourceId }: PoolMember): MemberHistory {
    return this.memory.histories.get(sourceId) as MemberHistory;
  }
}
