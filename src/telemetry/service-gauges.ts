/**
 * The metrics that are read from each service when a client scrapes. They are written as text here: prom-client would take 4 µs for
 * each line, and there are up to twelve lines for a service.
 * Invariant: a request costs nothing here, and a service that was removed leaves no series.
 */
import type { BreakerState } from "../data-plane/forward/breaker.ts";
import type { PoolState } from "../data-plane/forward/transport/transport.ts";

export interface MeasuredService {
  readonly key: string;
  readonly inFlight: number;
  readonly credentialRefusals: number;
  /** Times are ms since the epoch. Undefined where nothing is injected. */
  readonly credentialLife: { readonly expiresAt: number | undefined; readonly isRenewed: boolean } | undefined;
  /** Of a pool; undefined for a single credential. */
  readonly credentialsResting: number | undefined;
  /** Undefined for a service that was removed. */
  readonly connections: PoolState | undefined;
  /** Undefined where the breaker is off. */
  readonly breaker: BreakerState["state"] | undefined;
  readonly retriesWithheld: number;
  /** Undefined without a cache. */
  readonly cache:
    | { readonly entries: number; readonly bytes: number; readonly responses: Readonly<Record<string, number>> }
    | undefined;
  /** Requests that wait for the gateway's own limit; undefined where none may wait. */
  readonly limitWaiting: number | undefined;
  /** Requests with a key by what idempotency did; undefined where it is off. */
  readonly idempotency: { readonly requests: Readonly<Record<string, number>> } | undefined;
  /** Tokens that were counted, with the kinds and models that have some. */
  readonly tokens: readonly { readonly model: string; readonly kind: string; readonly count: number }[];
  /** Undefined where the service has no quota settings. */
  readonly quota:
    | { readonly remaining: number | undefined; readonly waiting: number; readonly upstreamRefusals: number }
    | undefined;
}

const BREAKER_STATES = ["closed", "half-open", "open"] as const;

interface ServiceSeries {
  readonly name: string;
  readonly type: "gauge" | "counter";
  readonly help: string;
  /** Undefined for a service without this series. */
  readonly read: (service: MeasuredService) => number | undefined;
}

const SERIES: readonly ServiceSeries[] = [
  gauge("requests_in_flight", "Requests and WebSockets in flight", ({ inFlight }) => inFlight),
  counter(
    "credential_refusals_total",
    "401 and 403 responses of the upstream to the credential",
    ({ credentialRefusals }) => (credentialRefusals > 0 ? credentialRefusals : undefined),
  ),
  gauge(
    "pool_credentials_resting",
    "Credentials of a pool that are not used after a 401 of the upstream",
    ({ credentialsResting }) => credentialsResting,
  ),
  gauge("breaker_state", "State of the circuit breaker: 0 closed, 1 half-open, 2 open", ({ breaker }) =>
    breaker === undefined ? undefined : BREAKER_STATES.indexOf(breaker),
  ),
  counter(
    "retries_withheld_total",
    "Retries that were withheld to spare an overloaded upstream",
    ({ retriesWithheld }) => (retriesWithheld > 0 ? retriesWithheld : undefined),
  ),
  gauge("quota_remaining", "Smallest remainder of any bucket of the upstream's quota", ({ quota }) => quota?.remaining),
  gauge("quota_waiting", "Requests that wait for the upstream's quota", ({ quota }) => quota?.waiting),
  counter(
    "quota_upstream_refusals_total",
    "Responses of the upstream that reported too many requests",
    ({ quota }) => quota?.upstreamRefusals,
  ),
  gauge("cache_entries", "Stored responses", ({ cache }) => cache?.entries),
  gauge("cache_bytes", "Memory of stored responses, an estimate", ({ cache }) => cache?.bytes),
  gauge("rate_limit_waiting", "Requests that wait for the gateway's own limit", ({ limitWaiting }) => limitWaiting),
  gauge("upstream_connections_open", "Connections to the upstream, without WebSockets", connections("open")),
  gauge("upstream_connections_busy", "Of these, with a request", connections("busy")),
  gauge("upstream_connections_limit", "maxConnections", connections("limit")),
  gauge("upstream_requests_pending", "Requests that wait for a connection", connections("pending")),
];

/** In the Prometheus text format, without a line break at the end. A service's key has no character that has to be escaped. */
export function serviceGaugesText(services: readonly MeasuredService[]): string {
  const families = SERIES.map(({ name, type, help, read }) => {
    const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`];
    for (const service of services) {
      const value = read(service);
      if (value !== undefined) lines.push(`${name}{service="${service.key}"} ${value}`);
    }
    return lines.join("\n");
  });
  return [
    ...families,
    credentialEndsText(services),
    cacheResponsesText(services),
    idempotencyText(services),
    tokensText(services),
  ].join("\n\n");
}

const CACHE_RESPONSES = "byteproxy_cache_responses_total";

const IDEMPOTENCY_REQUESTS = "byteproxy_idempotency_requests_total";

const CREDENTIAL_ENDS = "byteproxy_credential_expires_seconds";

/** A second label has two values. */
function credentialEndsText(services: readonly MeasuredService[]): string {
  const lines = [
    `# HELP ${CREDENTIAL_ENDS} When the credential expires, in seconds since 1970, and whether the gateway or the operator renews it`,
    `# TYPE ${CREDENTIAL_ENDS} gauge`,
  ];
  for (const { key, credentialLife: life } of services) {
    if (life?.expiresAt === undefined) continue;
    const by = life.isRenewed ? "gateway" : "operator";
    lines.push(`${CREDENTIAL_ENDS}{service="${key}",renewed_by="${by}"} ${Math.round(life.expiresAt / 1_000)}`);
  }
  return lines.join("\n");
}

/** A second label has six values. */
function cacheResponsesText(services: readonly MeasuredService[]): string {
  const lines = [
    `# HELP ${CACHE_RESPONSES} Responses of services with a cache, by what the cache did`,
    `# TYPE ${CACHE_RESPONSES} counter`,
  ];
  for (const { key, cache } of services) {
    for (const [state, count] of Object.entries(cache?.responses ?? {})) {
      if (count > 0) lines.push(`${CACHE_RESPONSES}{service="${key}",cache="${state}"} ${count}`);
    }
  }
  return lines.join("\n");
}

/** A second label has four values. */
function idempotencyText(services: readonly MeasuredService[]): string {
  const lines = [
    `# HELP ${IDEMPOTENCY_REQUESTS} Requests with an Idempotency-Key, by what the gateway did`,
    `# TYPE ${IDEMPOTENCY_REQUESTS} counter`,
  ];
  for (const { key, idempotency } of services) {
    for (const [state, count] of Object.entries(idempotency?.requests ?? {})) {
      if (count > 0) lines.push(`${IDEMPOTENCY_REQUESTS}{service="${key}",idempotency="${state}"} ${count}`);
    }
  }
  return lines.join("\n");
}

const TOKENS = "byteproxy_tokens_total";

/** A service has at most 51 models, whose names need no escaping, and four kinds of tokens. */
function tokensText(services: readonly MeasuredService[]): string {
  const lines = [
    `# HELP ${TOKENS} Tokens of language models that budgets counted, by the model and the kind of token`,
    `# TYPE ${TOKENS} counter`,
  ];
  for (const { key, tokens } of services) {
    for (const { model, kind, count } of tokens) {
      lines.push(`${TOKENS}{service="${key}",model="${model}",kind="${kind}"} ${count}`);
    }
  }
  return lines.join("\n");
}

function gauge(name: string, help: string, read: ServiceSeries["read"]): ServiceSeries {
  return { name: `byteproxy_${name}`, type: "gauge", help, read };
}

function counter(name: string, help: string, read: ServiceSeries["read"]): ServiceSeries {
  return { name: `byteproxy_${name}`, type: "counter", help, read };
}

function connections(name: keyof PoolState): ServiceSeries["read"] {
  return (service) => service.connections?.[name];
}
