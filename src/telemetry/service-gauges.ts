/**
 * The metrics that are read off each service when somebody asks.
 * Invariant: a request costs nothing here, and a service that is no more leaves no series behind.
 */
import { Counter, Gauge, type Registry } from "prom-client";
import type { BreakerState } from "../registry/breaker-state.ts";
import type { PoolState } from "../registry/pool-state.ts";

export interface MeasuredService {
  readonly key: string;
  readonly inFlight: number;
  readonly credentialRefusals: number;
  /** Undefined for a service that is no more. */
  readonly connections: PoolState | undefined;
  /** Undefined where it is switched off. */
  readonly breaker: BreakerState["state"] | undefined;
  readonly retriesWithheld: number;
  /** Undefined where nobody asks for what the upstream allows. */
  readonly quota:
    | { readonly remaining: number | undefined; readonly waiting: number; readonly upstreamRefusals: number }
    | undefined;
}

const BREAKER_STATES = ["closed", "half-open", "open"] as const;

/** Undefined where there is nothing to tell. */
type Read = (service: MeasuredService) => number | undefined;

export function addServiceGauges(measure: () => Iterable<MeasuredService>, registers: Registry[]): void {
  const services = oncePerScrape(measure);
  const described = (name: string, help: string, read: Read) => ({
    ...{ name: `byteproxy_${name}`, help, labelNames: ["service"] as const, registers },
    collect(this: Gauge<"service"> | Counter<"service">) {
      this.reset();
      for (const service of services()) {
        const value = read(service);
        if (value !== undefined) this.inc({ service: service.key }, value);
      }
    },
  });
  const gauge = (...of: Parameters<typeof described>) => new Gauge(described(...of));
  const counter = (...of: Parameters<typeof described>) => new Counter(described(...of));

  gauge("requests_in_flight", "Requests and WebSockets under way", ({ inFlight }) => inFlight);
  counter("credential_refusals_total", "401 and 403 of an upstream to the credential", ({ credentialRefusals }) =>
    credentialRefusals > 0 ? credentialRefusals : undefined,
  );
  gauge("breaker_state", "Of the circuit breaker: 0 closed, 1 half-open, 2 open", ({ breaker }) =>
    breaker === undefined ? undefined : BREAKER_STATES.indexOf(breaker),
  );
  counter(
    "retries_withheld_total",
    "Retries that were not made, so that they do not add to an upstream's load",
    ({ retriesWithheld }) => (retriesWithheld > 0 ? retriesWithheld : undefined),
  );
  gauge("quota_remaining", "Least that is left of any bucket of the upstream's quota", ({ quota }) => quota?.remaining);
  gauge("quota_waiting", "Requests that wait for the upstream's quota", ({ quota }) => quota?.waiting);
  counter(
    "quota_upstream_refusals_total",
    "Answers that said that it was asked too often",
    ({ quota }) => quota?.upstreamRefusals,
  );
  const of = (name: keyof PoolState): Read => {
    return ({ connections }) => connections?.[name];
  };
  gauge("upstream_connections_open", "Connections to the upstream, WebSockets left out", of("open"));
  gauge("upstream_connections_busy", "Of these, with a request", of("busy"));
  gauge("upstream_connections_limit", "maxConnections", of("limit"));
  gauge("upstream_requests_pending", "Requests that wait for a connection", of("pending"));
}

/** A scrape reads every gauge before anything else runs: thousands of services are measured for all of them at once. */
function oncePerScrape(measure: () => Iterable<MeasuredService>): () => readonly MeasuredService[] {
  let measured: readonly MeasuredService[] | undefined;
  return () => {
    if (measured === undefined) {
      measured = [...measure()];
      queueMicrotask(() => {
        measured = undefined;
      });
    }
    return measured;
  };
}
