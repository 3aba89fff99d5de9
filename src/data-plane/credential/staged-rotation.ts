/**
 * The change of one service from its current secret to the next one: probed, used for a share of the requests, then for all of them.
 * Invariant: a promotion is durable before a request depends on it, and outlives reloads and restarts; and one refusal of the next
 * secret, where the current one is not refused, ends the change.
 */
import type { RotationState } from "../../config/rotation-state.ts";
import type { Records } from "../../stores/records.ts";
import type { StoredPromotion } from "../../stores/stored-promotion.ts";

export interface RotationOrder {
  /** Of the requests: above 0, at most 1. */
  readonly share: number;
  readonly seconds: number;
  /** The id of the request that began it. */
  readonly requestId: string;
}

/** How a rotation ended. */
export interface RotationEnd {
  readonly outcome: "promoted" | "rolled-back";
  /** Requests with the next secret. */
  readonly requests: number;
  /** Completes "it was rolled back, because …". */
  readonly reason?: string;
}

export interface StagedRotationOptions {
  readonly service: string;
  readonly pair: StoredPromotion;
  /** By the key of the service. */
  readonly promotions: Records<StoredPromotion>;
  /** Not called for a rotation that an operator ends. */
  readonly onEnd: (service: string, end: RotationEnd, requestId: string) => void;
}

/** Whether the status of a response shows that the upstream has accepted the secret. Overload and rate limits may come before that. */
function acceptsSecret(status: number): boolean {
  return status !== 401 && status !== 407 && status !== 429 && status < 500;
}

/** Requests that are remembered because the current secret was refused. */
const REFUSED_LIMIT = 256;

/** Shares are counted in these, so that no sum of fractions is inexact. */
const WHOLE = 1_000_000;

interface Sharing {
  readonly order: RotationOrder;
  readonly step: number;
  readonly until: number;
  readonly timer: NodeJS.Timeout;
  owed: number;
  /** `POST /path` of requests to which the upstream responded with 401 also when they had the current secret. */
  readonly refused: Set<string>;
  /** A request was refused with the current secret and accepted with the next one. */
  isCurrentInvalid: boolean;
  /** What the upstream has said to requests with the next secret. */
  verdict: "none" | "refused" | "accepted";
}

export class StagedRotation {
  readonly #options: StagedRotationOptions;
  #stage: RotationState["stage"] | "probing" | "over" = "ready";
  #sharing: Sharing | undefined;
  /** The last one. */
  #probe: symbol | undefined;
  #requests = 0;
  #reason: string | undefined;
  /** Settles when no promotion is being stored. */
  #promoting: Promise<void> = Promise.resolve();

  constructor(options: StagedRotationOptions) {
    this.#options = options;
    if (this.#isStored) this.#stage = "promoted";
  }

  /** `over`: the secrets have changed, or no service has them any more; a promotion stays one. */
  get stage(): RotationState["stage"] | "probing" | "over" {
    return this.#stage;
  }

  describe(): RotationState {
    const stage = this.#stage === "probing" || this.#stage === "over" ? "ready" : this.#stage;
    const { order, until } = this.#sharing ?? {};
    return { stage, share: order?.share, until, requests: this.#requests, reason: this.#reason };
  }

  /** Called for each request while it is `sharing`. @returns whether the request has the next secret; evenly spread. */
  takesNext(): boolean {
    const sharing = this.#sharing;
    if (sharing === undefined) return false;
    sharing.owed += sharing.step;
    if (sharing.owed < WHOLE) return false;
    sharing.owed -= WHOLE;
    this.#requests++;
    return true;
  }

  /** No other rotation can begin before `begin`, `refuse` or `cancel`. @returns what names this probe. */
  startProbe(): symbol {
    this.#stage = "probing";
    this.#reason = undefined;
    this.#requests = 0;
    this.#probe = Symbol(this.#options.service);
    return this.#probe;
  }

  /** @returns false where the rotation is over since the probe began. */
  begin(order: RotationOrder, probe: symbol): boolean {
    if (!this.#isProbing(probe)) return false;
    const ms = order.seconds * 1_000;
    this.#stage = "sharing";
    this.#sharing = {
      order,
      step: Math.round(order.share * WHOLE),
      until: Date.now() + ms,
      timer: setTimeout(() => this.#startPromotion(), ms).unref(),
      // The first request has it: what is wrong shows soon.
      owed: WHOLE - Math.round(order.share * WHOLE),
      refused: new Set(),
      isCurrentInvalid: false,
      verdict: "none",
    };
    return true;
  }

  /**
   * The upstream responded to a probe with 401 to the next secret.
   * @param status of its response to the same probe with the current one.
   * @returns why the rotation is over; undefined where the two responses say nothing.
   */
  refuse(status: number, probe: symbol): string | undefined {
    if (!acceptsSecret(status)) return undefined;
    const reason = `the upstream responded to a probe with 401 to the next secret and with ${status} to the current one`;
    if (this.#isProbing(probe)) {
      this.#stage = "rolled-back";
      this.#reason = reason;
    }
    return reason;
  }

  #isProbing(probe: symbol): boolean {
    return this.#stage === "probing" && this.#probe === probe;
  }

  /**
   * The upstream responded with 401 to the current secret.
   * @param status of its response to the same request with the next secret; undefined where the request was not repeated.
   * @param target of the request: `POST /path`.
   */
  noteCurrentRefused(status: number | undefined, target: string): void {
    if (this.#sharing === undefined) return;
    if (status === undefined || status === 401) this.#rememberRefused(target);
    else if (acceptsSecret(status)) {
      this.#sharing.isCurrentInvalid = true;
      this.#sharing.verdict = "accepted";
    }
  }

  /** Whether `noteNextResponse` has to be called. */
  get isUndecided(): boolean {
    return this.#sharing !== undefined && this.#sharing.verdict !== "accepted";
  }

  /** @param status of a response to a request with the next secret. */
  noteNextResponse(status: number): void {
    if (this.#sharing !== undefined && acceptsSecret(status)) this.#sharing.verdict = "accepted";
  }

  /**
   * The upstream responded with 401 to the next secret. Without a repetition it counts unless this request was refused with the current
   * secret before: callers can cause a 401 by what they request, and must not decide about the rotation of the others.
   * @param status of its response to the same request with the current secret; undefined where the request was not repeated.
   * @param target of the request: `POST /path`.
   */
  noteNextRefused(status: number | undefined, target: string): void {
    if (this.#sharing === undefined) return;
    if (this.#sharing.verdict === "none") this.#sharing.verdict = "refused";
    if (status === undefined) {
      if (!this.#sharing.isCurrentInvalid && !this.#sharing.refused.has(target)) {
        this.#rollBack("the upstream responded with 401 to a request with the next secret that could not be repeated");
      }
    } else if (status === 401) this.#rememberRefused(target);
    else if (acceptsSecret(status)) {
      const both = `with 401 to the next secret and with ${status} to the current one`;
      this.#rollBack(`the upstream responded to a request ${both}`);
    }
  }

  #rememberRefused(target: string): void {
    const { refused } = this.#sharing as Sharing;
    if (refused.size < REFUSED_LIMIT) refused.add(target);
  }

  /**
   * For an operator: the current secret is used again, also after a promotion.
   * @returns false where there is nothing to end. @throws the store's failure: then the promotion stays.
   */
  async cancel(): Promise<boolean> {
    const { service, promotions } = this.#options;
    const wasRunning = this.#stage === "sharing" || this.#stage === "probing";
    if (wasRunning) this.#stop("ready");
    // A promotion that is being stored would be in force after a restart.
    await this.#promoting;
    if (!this.#isStored) return wasRunning;
    await promotions.delete(service);
    if (this.#stage === "promoted") {
      this.#stage = "ready";
      this.#requests = 0;
    }
    return true;
  }

  /**
   * Requests that began before keep the secret that they would have had: the one before a promotion may be revoked.
   * @param reason completes "it was rolled back, because …".
   */
  close(reason: string): void {
    if (this.#stage === "sharing") this.#rollBack(reason);
    if (this.#stage !== "promoted") this.#stage = "over";
  }

  /** Without a report: the process ends. */
  abandon(): void {
    this.#stop(this.#stage === "promoted" ? "promoted" : "over");
  }

  /** One at a time: the end of the one before may still be being stored. */
  #startPromotion(): void {
    const sharing = this.#sharing;
    this.#promoting = this.#promoting.then(() => this.#promote(sharing));
  }

  async #promote(sharing: Sharing | undefined): Promise<void> {
    const { service, pair, promotions } = this.#options;
    if (sharing === undefined || this.#sharing !== sharing) return;
    if (sharing.verdict === "refused") {
      this.#rollBack("the upstream responded with 401 to every request with the next secret, as to the current one");
      return;
    }
    try {
      await promotions.put(service, pair);
    } catch {
      if (this.#sharing === sharing) this.#rollBack("the change could not be stored in DATA_DIR");
      return;
    }
    if (this.#sharing === sharing) {
      this.#stop("promoted");
      this.#options.onEnd(service, { outcome: "promoted", requests: this.#requests }, sharing.order.requestId);
      return;
    }
    // It was ended while the change was being stored.
    if (this.#isStored) await promotions.delete(service).catch(() => {});
  }

  get #isStored(): boolean {
    const { service, pair, promotions } = this.#options;
    const stored = promotions.entries.get(service)?.value;
    return stored?.from === pair.from && stored.to === pair.to;
  }

  #rollBack(reason: string): void {
    const { requestId = "" } = this.#sharing?.order ?? {};
    this.#stop("rolled-back");
    this.#reason = reason;
    const end = { outcome: "rolled-back", requests: this.#requests, reason } as const;
    this.#options.onEnd(this.#options.service, end, requestId);
  }

  #stop(stage: RotationState["stage"] | "over"): void {
    clearTimeout(this.#sharing?.timer);
    this.#sharing = undefined;
    this.#stage = stage;
  }
}
