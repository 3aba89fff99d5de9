/** One exchange's way through its credential's quota, as the pipeline, the forwarding and the tunnels know it. */
import type { GatewayError } from "../../errors.ts";
import type { AnswerHeaders } from "./read-quota.ts";

/** For the log. `passed` at once, or `held` first; where nobody holds back, answers are only `observed`. */
export type PassState = "observed" | "passed" | "held";

export interface QuotaPass {
  readonly state: PassState;
  /**
   * Before each attempt. Where it had to wait the exchange stands aside afterwards, and is to step in again.
   * @param withinMs how long it may wait, where that is less than it has patience for. @returns why it may not go; undefined also when the client left.
   */
  enter(withinMs?: number): Promise<GatewayError | undefined>;
  /** The attempt reached a connection: from now on it may have been counted. */
  sent(): void;
  answered(status: number, headers: AnswerHeaders): void;
  /** The last answer was a refusal for too many requests, and is worth another attempt. */
  readonly wasRefused: boolean;
  /** Another attempt would go within so many ms. */
  mayGoAgain(withinMs: number): boolean;
  /** The exchange is over. */
  end(): void;
}
