/** What would happen to a request, without sending it. */
import type { DescribedCommand, DescribedSecret } from "../../config/credential-source.ts";
import type { CredentialState } from "../../config/credentials.ts";
import type { DescribedPoolEntry } from "../../config/pooled-state.ts";
import type { DescribedRotation } from "../../config/rotation-state.ts";
import type { ServiceAddress } from "../../config/service-addresses.ts";
import type { TokenBudget } from "../../config/token-budget.ts";
import type { ErrorCode } from "../../error-catalog.ts";
import type { ExplainedCache } from "../cache/explain-cache.ts";
import type { BreakerState } from "../forward/breaker.ts";
import type { ExplainedIdempotency } from "../idempotency/explain-idempotency.ts";
import type { ChargedBudget } from "../spend/spend.ts";

/** The request to explain. */
export interface RequestToExplain {
  readonly method: string;
  /** Path and query: beginning with `/proxy/<service>`, or any at a service's own address. */
  readonly target: string;
  /** The service's own host or port to which it would be sent. */
  readonly serviceAddress: ServiceAddress | undefined;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Id of the caller to assume, instead of the caller that the headers authenticate. */
  readonly callerId: string | undefined;
  /** The client certificate that the connection would have, as `parseClientCert` returns it. */
  readonly clientCert?: string | undefined;
  /** The address of the client that would send it. */
  readonly address: string;
}

export interface ExplainedRefusal {
  readonly status: number;
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string;
}

export interface ExplainedStep {
  readonly step: string;
  readonly verdict: "pass" | "refuse";
  /** False after the first refusal: the verdict that would follow if that refusal were fixed. */
  readonly reached: boolean;
  readonly refusal?: ExplainedRefusal;
}

export interface ExplainedHeader {
  readonly name: string;
  /** `***` for a value that is or may be a secret. */
  readonly value: string;
}

export interface ExplainedUpstream {
  readonly method: string;
  /** The value of an injected parameter is masked. */
  readonly url: string;
  readonly transport: "http" | "http2" | "websocket";
  readonly headers: {
    readonly added: readonly ExplainedHeader[];
    /** Names that the client sends and the upstream does not receive. */
    readonly removed: readonly string[];
    readonly kept: readonly ExplainedHeader[];
  };
  /** The egress proxy, without its credential; null for a direct connection. */
  readonly proxy: string | null;
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly retries: number;
}

export interface ExplainedCredential {
  readonly state: CredentialState;
  readonly type: string | null;
  /** `header Authorization` or `query key`; several are joined by commas. */
  readonly place: string | null;
  readonly source: string | null;
  readonly fingerprint: string | null;
  /** Of a credential with several. */
  readonly secrets?: readonly DescribedSecret[];
  /** Of a credential with one secret, which a command prints. */
  readonly command?: DescribedCommand;
  /** Where a next secret is set: which of both a request would have follows from the stage. */
  readonly rotation?: DescribedRotation;
  readonly pool?: ExplainedPool;
}

export interface ExplainedPool {
  /** The index of the credential that would be used; null if none may send the request in time. */
  readonly chosen: number | null;
  readonly reason: string;
  readonly of: readonly (DescribedPoolEntry & {
    /** Requests that it may still send now; null if that is not known. */
    readonly left: number | null;
  })[];
}

export interface ExplainedLimit {
  readonly per: "service" | "caller" | "ip";
  readonly limit: number;
  /** Before this request. */
  readonly remaining: number;
  /** s, rounded up. */
  readonly resetIn: number;
  /** ms that the request would wait; undefined where it would be refused, or where no request waits for the limit. */
  readonly waitMs?: number;
  /** In the queue, from 1; 0 for a request that would not wait. */
  readonly position?: number;
}

export interface ExplainedBudget extends TokenBudget {
  readonly of: ChargedBudget["ownerKind"];
  readonly spent: number;
  readonly remaining: number;
  /** s, rounded up. */
  readonly resetIn: number;
}

export interface Explanation {
  /** `forward`: the request would go to the upstream. `preflight`: the gateway would respond to a browser's preflight with 204. */
  readonly verdict: "forward" | "refuse" | "preflight";
  /** The gateway's own response to the client; null where the upstream responds. */
  readonly refusal: ExplainedRefusal | null;
  readonly request: {
    readonly method: string;
    /** Values of the query masked. */
    readonly path: string;
    readonly address: string;
    /** Null where no caller is authenticated. */
    readonly caller: string | null;
  };
  readonly service: string | null;
  /** Where the service accepts a caller's key; null for an unknown service. */
  readonly keyPlaces: readonly string[] | null;
  readonly steps: readonly ExplainedStep[];
  /** Names of the user hooks whose onRequest would run after these steps. An explanation runs none of them. Null without hooks. */
  readonly hooks: readonly string[] | null;
  /** Null for a request without a route. */
  readonly upstream: ExplainedUpstream | null;
  readonly credential: ExplainedCredential | null;
  readonly rateLimit: ExplainedLimit | null;
  /** Budgets of tokens that would count the request. */
  readonly budgets: readonly ExplainedBudget[];
  /** Patterns for the models that the key may ask for; null for all. The body, which decides, is not explained. */
  readonly models: readonly string[] | null;
  /** Null where the service has none. */
  readonly breaker: BreakerState | null;
  /** What the cache has for the request; null for a service without one. */
  readonly cache: ExplainedCache | null;
  /** What idempotency would do; null for a service without it, and for a refused request. */
  readonly idempotency: ExplainedIdempotency | null;
  /** Of a service that holds requests; null otherwise, and for a refused request. */
  readonly quota: { readonly bucket: string; readonly waitMs: number } | null;
}
