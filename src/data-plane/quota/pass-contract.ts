/** What the data plane and the quota know of each other: an exchange as the quota sees it, and its pass through the quota. */
import type { Service } from "../../config/schema.ts";
import type { GatewayError } from "../../errors.ts";
import type { CredentialPool, PoolMember, PoolUse } from "../credential/credential-provider.ts";
import type { WaitingClient } from "../waiting-client.ts";
import type { ResponseHeaders } from "./read-quota.ts";

/** For the log: sent at once (`passed`) or after a wait (`held`); in observe mode `observed`; `none` without quota. */
export type QuotaOutcome = "none" | "observed" | "passed" | "held";

/** The part of an exchange that the quota uses. It is declared here, because the exchange has a `QuotaPass`. */
export interface QuotaClient extends WaitingClient {
  readonly method: string;
  readonly callerId: string;
  /** The caller; empty where only one may use the service. */
  readonly voter: string;
  quotaOutcome: QuotaOutcome;
  /** The credential of a pool that the latest ticket is for, and the one to prefer. */
  poolUse: PoolUse | undefined;
  /** ms that it waited for the gateway's own limit: a caller's `Prefer: wait` limits the sum. */
  readonly earlierWaitMs: number;
}

export interface QuotaExchange {
  readonly exchange: QuotaClient;
  readonly service: Pick<Service, "key" | "timeoutMs">;
  /** After the base URL. */
  readonly path: string;
  /** Identifies the credential that the gateway adds; undefined if it adds none. */
  readonly sourceId: string | undefined;
  /** Undefined for a single credential. */
  readonly pool: CredentialPool | undefined;
  /** The credential of the pool that was chosen; undefined before the choice. */
  readonly member: PoolMember | undefined;
  /** Flat list, as sent to the upstream. */
  readonly headers: readonly string[];
}

/** One exchange's way through the quota of its credential, in hold mode. */
export interface QuotaPass {
  /**
   * Called before each attempt. If it had to wait, the exchange has released its slots and must acquire them again.
   * @param withinMs may shorten the exchange's maximum wait. @returns the refusal; undefined also when the client left.
   */
  enter(withinMs?: number): Promise<GatewayError | undefined>;
  /** The attempt reached a connection: from now on the upstream may have counted it. */
  sent(): void;
  responded(status: number, headers: ResponseHeaders): void;
  /** The last response was a refusal for too many requests, and another attempt may succeed. */
  readonly wasRefused: boolean;
  /** Whether another attempt would be sent within this time, ms. */
  canRetry(withinMs: number): boolean;
  /** The exchange is over. */
  end(): void;
}
