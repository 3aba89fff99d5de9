/** What one look at an upstream brought to light. */

export type ProbePhase = "dns" | "connect" | "tls" | "http";

export interface ProbedCertificate {
  readonly subject: string;
  /** `DNS:api.example.com`, `IP Address:127.0.0.1` … */
  readonly names: readonly string[];
  readonly issuer: string;
  /** RFC 3339. */
  readonly validFrom: string;
  readonly validTo: string;
  /** Negative once it has expired. */
  readonly daysLeft: number;
  /** `TLSv1.3` … */
  readonly protocol: string | null;
}

export interface ProbeOutcome {
  readonly service: string;
  readonly status: "reachable" | "unreachable";
  readonly responseStatus: number | null;
  /** `12ms`, of all of it. */
  readonly duration: string;
  readonly baseUrl: string;
  /** ms of each; null for one that there is not, or that was not reached. */
  readonly phases: Readonly<Record<ProbePhase, number | null>>;
  /** Null without TLS, and where none was shown. */
  readonly certificate: ProbedCertificate | null;
  /** s that the upstream's clock is ahead of ours; null where it told no time. */
  readonly clockDifference: number | null;
  /** What the upstream said to the credential: 401 and 403 are `refused`, 2xx is `accepted`. */
  readonly credential: "none" | "missing" | "accepted" | "refused" | "unknown";
  /** The phase that failed, with the code and the words that a request would have got. */
  readonly phase?: ProbePhase;
  readonly code?: string;
  readonly error?: string;
  readonly troubleshooting?: readonly string[];
}
