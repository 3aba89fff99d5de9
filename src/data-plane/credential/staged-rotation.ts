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

/** Shares are counted in these, so that no sum of fractions is inexact. */
const WHOLE = 1_000_000;

interface Sharing {
  readonly order: RotationOrder;
  readonly step: number;
  readonly until: number;
  readonly timer: NodeJS.Timeout;
  owed: number;
  wasCurrentRefused: boolean;
}

export class StagedRotation {
  readonly #options: StagedRotationOptions;
  #stage: RotationState["stage"] | "probing" | "over" = "ready";
  #sharing: Sharing | undefined;
  #requests = 0;
  #reason: string | undefined;

  constructor(options: StagedRotationOptions) {
    this.#options = options;
    const { service, pair, promotions } = options;
    const stored = promotions.entries.get(service)?.value;
    if (stored?.from === pair.from && stored.to === pair.to) this.#stage = "promoted";
  }

  /** `over`: the secrets have changed, or no service has them any more. */
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

  /** No other rotation can begin before `begin` or `refuse`. */
  startProbe(): void {
    this.#stage = "probing";
    this.#reason = undefined;
    this.#requests = 0;
  }

  /** @returns false where the rotation is over since the probe began. */
  begin(order: RotationOrder): boolean {
    if (this.#stage !== "probing") return false;
    const ms = order.seconds * 1_000;
    this.#stage = "sharing";
    this.#sharing = {
      order,
      step: Math.round(order.share * WHOLE),
      until: Date.now() + ms,
      timer: setTimeout(() => void this.#promote(), ms).unref(),
      // The first request has it: what is wrong shows soon.
      owed: WHOLE - Math.round(order.share * WHOLE),
      wasCurrentRefused: false,
    };
    return true;
  }

  /** The upstream refused the next secret when it was probed. */
  refuse(reason: string): void {
    if (this.#stage !== "probing") return;
    this.#stage = "rolled-back";
    this.#reason = reason;
  }

  /** The upstream responded with 401 to the current secret. */
  noteCurrentRefused(): void {
    if (this.#sharing !== undefined) this.#sharing.wasCurrentRefused = true;
  }

  /**
   * The upstream responded with 401 to the next secret.
   * @param status of its response to the same request with the current secret; undefined where the request was not repeated.
   */
  noteNextRefused(status: number | undefined): void {
    if (this.#sharing === undefined) return;
    if (status === undefined) {
      if (!this.#sharing.wasCurrentRefused) {
        this.#rollBack("the upstream responded with 401 to a request with the next secret that could not be repeated");
      }
    } else if (status === 401) this.#sharing.wasCurrentRefused = true;
    else if (status < 500) {
      const both = `with 401 to the next secret and with ${status} to the current one`;
      this.#rollBack(`the upstream responded to a request ${both}`);
    }
  }

  /**
   * For an operator: the current secret is used again, also after a promotion.
   * @returns false where there is nothing to end. @throws the store's failure: then the promotion stays.
   */
  async cancel(): Promise<boolean> {
    if (this.#stage === "sharing") {
      this.#stop("ready");
      return true;
    }
    if (this.#stage !== "promoted") return false;
    await this.#options.promotions.delete(this.#options.service);
    this.#stage = "ready";
    this.#requests = 0;
    return true;
  }

  /** @param reason completes "it was rolled back, because …". */
  close(reason: string): void {
    if (this.#stage === "sharing") this.#rollBack(reason);
    this.#stage = "over";
  }

  /** Without a report: the process ends. */
  abandon(): void {
    this.#stop("over");
  }

  async #promote(): Promise<void> {
    const { service, pair, promotions } = this.#options;
    const sharing = this.#sharing;
    try {
      await promotions.put(service, pair);
    } catch {
      if (this.#sharing === sharing) this.#rollBack("the change could not be stored in DATA_DIR");
      return;
    }
    if (sharing !== undefined && this.#sharing === sharing) {
      this.#stop("promoted");
      this.#options.onEnd(service, { outcome: "promoted", requests: this.#requests }, sharing.order.requestId);
      return;
    }
    // It was ended while the change was being stored.
    if (promotions.entries.get(service)?.value === pair) await promotions.delete(service).catch(() => {});
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
