/** What would happen to a request, told without sending it. */
import type { ErrorCode } from "../../errors.ts";
import type { BreakerState } from "../forward/breaker.ts";

/** The request to explain. */
export interface RequestToExplain {
  readonly method: string;
  /** Path and query, beginning with `/proxy/<service>`. */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Id of the caller to assume, in the place of whoever the headers authenticate. */
  readonly callerId: string | undefined;
  /** Of the client that would send it. */
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
  /** False behind the first refusal: it tells what would come next if that were mended. */
  readonly reached: boolean;
  readonly refusal?: ExplainedRefusal;
}

export interface ExplainedHeader {
  readonly name: string;
  /** `***` where it is, or may be, a secret. */
  readonly value: string;
}

export interface ExplainedUpstream {
  readonly method: string;
  /** With an injected parameter, its value masked. */
  readonly url: string;
  readonly transport: "http" | "websocket";
  readonly headers: {
    readonly added: readonly ExplainedHeader[];
    /** Names that the client sends and the upstream does not get. */
    readonly removed: readonly string[];
    readonly kept: readonly ExplainedHeader[];
  };
  readonly timeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly retries: number;
}

export interface ExplainedCredential {
  readonly state: "none" | "present" | "missing";
  readonly type: string | null;
  /** `header Authorization` or `query key`. */
  readonly place: string | null;
  readonly source: string | null;
  readonly fingerprint: string | null;
}

export interface ExplainedLimit {
  readonly per: "service" | "caller" | "ip";
  readonly limit: number;
  /** Before this request. */
  readonly remaining: number;
  /** s, rounded up. */
  readonly resetIn: number;
}

export interface Explanation {
  /** `forward`: it would go to the upstream. `preflight`: a browser's question, answered by the gateway with 204. */
  readonly verdict: "forward" | "refuse" | "preflight";
  /** What the client would get from the gateway itself; null where the upstream answers. */
  readonly refusal: ExplainedRefusal | null;
  readonly request: {
    readonly method: string;
    /** Values of the query masked. */
    readonly path: string;
    readonly address: string;
    /** Null while nobody is authenticated. */
    readonly caller: string | null;
  };
  readonly service: string | null;
  readonly steps: readonly ExplainedStep[];
  /** Null for a request that no upstream could be named for. */
  readonly upstream: ExplainedUpstream | null;
  readonly credential: ExplainedCredential | null;
  readonly rateLimit: ExplainedLimit | null;
  /** Null where the service has none. */
  readonly breaker: BreakerState | null;
  /** Of a service that holds requests; null otherwise, and where it would be refused. */
  readonly quota: { readonly bucket: string; readonly waitMs: number } | null;
}
