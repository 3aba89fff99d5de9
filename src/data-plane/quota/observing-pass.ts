/** `quota.mode: observe`: an exchange takes no ticket, and its answers are told to whoever reads them. */
import type { QuotaPass } from "./quota-pass.ts";
import type { QuotaExchange } from "./quota-request.ts";
import { type AnswerHeaders, tellsOfQuota } from "./read-quota.ts";
import type { QuotaClock } from "./ticket.ts";

/** An answer to a request that took no ticket. */
export interface ObservedAnswer {
  readonly parts: QuotaExchange;
  readonly status: number;
  readonly headers: AnswerHeaders;
  /** ms since the epoch. */
  readonly at: number;
}

/** Costs a look at the names of each answer's headers. */
export class ObservingPass implements QuotaPass {
  readonly state = "observed";
  readonly wasRefused = false;
  readonly #observe: (answer: ObservedAnswer) => void;
  readonly #parts: QuotaExchange;
  readonly #clock: Pick<QuotaClock, "now">;

  constructor(parts: QuotaExchange, clock: Pick<QuotaClock, "now">, observe: (answer: ObservedAnswer) => void) {
    this.#observe = observe;
    this.#parts = parts;
    this.#clock = clock;
  }

  async enter(): Promise<undefined> {}

  sent(): void {}

  answered(status: number, headers: AnswerHeaders): void {
    if (status < 400 && !tellsOfQuota(headers)) return;
    this.#observe({ parts: this.#parts, status, headers, at: this.#clock.now() });
  }

  mayGoAgain(): boolean {
    return false;
  }

  end(): void {}
}
