/**
 * The Prometheus metrics: each request updates two series, everything else is read at the time of a scrape.
 * Invariant: labels come from short lists (configured services, known methods, status classes, codes of the catalog), never
 * from a request.
 */
import { readdirSync } from "node:fs";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { type PressureSample, processMemory } from "../pressure/monitor.ts";
import { RequestSeries } from "./request-series.ts";
import { type MeasuredService, serviceGaugesText } from "./service-gauges.ts";

/** A finished request. */
export interface MeasuredRequest {
  /** A service's key; empty when the request was refused before a service was found. */
  readonly service: string;
  readonly method: string;
  readonly status: number;
  readonly durationMs: number;
  /** The part of the duration that was the wait for the upstream's quota. */
  readonly queuedMs: number;
  readonly limitWaitMs: number;
  /** `relayed`, `refused:<code>`, `failed:<code>` … */
  readonly outcome: string;
  readonly retries: number;
}

export interface Metrics {
  observe(request: MeasuredRequest): void;
  /** A request that was refused before it became an exchange. */
  countRefusal(code: string): void;
  /** Drops every series of a removed service, so that labels do not accumulate. */
  forget(service: string): void;
  /** All refusals since the start; `service` is empty for requests refused before a service was found. */
  refusals(): Promise<readonly CountedRefusals[]>;
  /** All metrics in the text format. */
  text(): Promise<string>;
  readonly contentType: string;
}

export interface CountedRefusals {
  readonly service: string;
  readonly code: string;
  readonly count: number;
}

/** The sources that are read at the time of a scrape. */
export interface MetricSources {
  services(): Iterable<MeasuredService>;
  listeners(): Iterable<{ readonly name: string; readonly connections: number }>;
  openWebSockets(): number;
  /** Requests and WebSockets of all services. */
  inFlight(): number;
  pressure(): { readonly sample: PressureSample; readonly isUnderPressure: boolean };
  isDraining(): boolean;
  /** Of the certificate that is served now, seconds since the epoch. Undefined for plain HTTP. */
  readonly certificateEnd?: (() => number) | undefined;
  /** Undefined without REDIS_URL. */
  readonly sharedStore?: (() => { readonly state: string; readonly replicas: number }) | undefined;
  readonly version: string;
}

/** Seconds. */
const WAIT_BUCKETS = [0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600];

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  const requests = new RequestSeries();
  const refusals = new Counter({
    name: "byteproxy_refusals_total",
    help: "Requests that the gateway refused, by code",
    labelNames: ["service", "code"],
    registers,
  });
  const failures = new Counter({
    name: "byteproxy_failures_total",
    help: "Requests that failed on the way to the upstream or back, by code",
    labelNames: ["service", "code"],
    registers,
  });
  const retries = new Counter({
    name: "byteproxy_retries_total",
    help: "Attempts after the first",
    labelNames: ["service"],
    registers,
  });
  const waits = new Histogram({
    name: "byteproxy_quota_wait_seconds",
    help: "Time that requests waited for the upstream's quota",
    labelNames: ["service"],
    buckets: WAIT_BUCKETS,
    registers,
  });
  const limitWaits = new Histogram({
    name: "byteproxy_rate_limit_wait_seconds",
    help: "Time that requests waited for the gateway's own limit",
    labelNames: ["service"],
    buckets: WAIT_BUCKETS,
    registers,
  });
  addGauges(sources, registers);
  addProcessMetrics(sources.version, registers);

  return {
    observe({ service, method, status, durationMs, queuedMs, limitWaitMs, outcome, retries: again }) {
      requests.count(service, method, status, durationMs);
      if (queuedMs > 0) waits.observe({ service }, queuedMs / 1000);
      if (limitWaitMs > 0) limitWaits.observe({ service }, limitWaitMs / 1000);
      if (again > 0) retries.inc({ service }, again);
      if (outcome.startsWith("refused:")) refusals.inc({ service, code: outcome.slice("refused:".length) });
      else if (outcome.startsWith("failed:")) failures.inc({ service, code: outcome.slice("failed:".length) });
    },
    countRefusal: (code) => refusals.inc({ service: "", code }),
    forget(service) {
      requests.forget(service);
      retries.remove({ service });
      waits.remove({ service });
      limitWaits.remove({ service });
      for (const counter of [refusals, failures]) void dropSeries(counter, service);
    },
    async refusals() {
      const { values } = await refusals.get();
      return values.map(({ labels, value }) => ({
        service: String(labels.service ?? ""),
        code: String(labels.code ?? ""),
        count: value,
      }));
    },
    async text() {
      const services = serviceGaugesText([...sources.services()]);
      return `${requests.text()}\n\n${services}\n\n${await registry.metrics()}`;
    },
    contentType: registry.contentType,
  };
}

async function dropSeries(counter: Counter, service: string): Promise<void> {
  const { values } = await counter.get();
  for (const { labels } of values) if (labels.service === service) counter.remove(labels);
}

function addGauges(sources: MetricSources, registers: Registry[]): void {
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name: `byteproxy_${name}`,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  new Gauge({
    name: "byteproxy_connections_open",
    help: "Client sockets",
    registers,
    labelNames: ["listener"],
    collect() {
      this.reset();
      // The ports of services are one series.
      for (const { name, connections } of sources.listeners()) this.inc({ listener: name }, connections);
    },
  });
  gauge("websockets_open", "Open WebSockets", sources.openWebSockets);
  gauge("in_flight", "Requests and WebSockets in progress, of all services", sources.inFlight);
  gauge("draining", "1 while the gateway drains", () => Number(sources.isDraining()));
  gauge("under_pressure", "1 while /proxy is shed", () => Number(sources.pressure().isUnderPressure));
  const { certificateEnd } = sources;
  if (certificateEnd !== undefined) {
    gauge("tls_certificate_end_seconds", "End of the listener's certificate, seconds since the epoch", certificateEnd);
  }
  const { sharedStore } = sources;
  if (sharedStore !== undefined) {
    gauge("store_degraded", "1 while the shared store cannot be used", () =>
      Number(sharedStore().state === "degraded"),
    );
    gauge("store_replicas", "Gateways that share the store, as last seen", () => sharedStore().replicas);
  }
  const sample = () => sources.pressure().sample;
  gauge("event_loop_delay_seconds", "Mean of the last sample", () => sample().eventLoopDelay / 1000);
  gauge("event_loop_utilization", "Busy share of the last sample, 0 to 1", () => sample().eventLoopUtilized);
}

/** Read here, because the observers of prom-client's own collector cannot be closed. */
function addProcessMetrics(version: string, registers: Registry[]): void {
  const startedAt = Date.now() / 1000 - process.uptime();
  const read: Readonly<Record<string, readonly [help: string, value: () => number]>> = {
    process_resident_memory_bytes: ["Resident memory", () => processMemory().rss],
    process_heap_used_bytes: ["Heap in use", () => processMemory().heapUsed],
    process_heap_total_bytes: ["Heap reserved", () => processMemory().heapTotal],
    process_external_memory_bytes: ["Buffers and the like", () => processMemory().external],
    process_open_fds: ["File descriptors", countDescriptors],
    process_start_time_seconds: ["Start, seconds since the epoch", () => startedAt],
  };
  for (const [name, [help, value]] of Object.entries(read)) {
    new Gauge({
      name: `byteproxy_${name}`,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  }
  new Counter({
    name: "byteproxy_process_cpu_seconds_total",
    help: "CPU time, user and system",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  new Gauge({
    name: "byteproxy_build_info",
    help: "1, with the versions as labels",
    registers,
    labelNames: ["version", "node"],
  }).set({ version, node: process.version }, 1);
}

/** NaN where the system does not report it. */
function countDescriptors(): number {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return Number.NaN;
  }
}
