/**
 * The two series that every request touches, counted in plain numbers and made into samples when somebody asks: prom-client
 * would check and hash the labels of each request anew, which costs ten times as much.
 * Invariant: labels come from short lists, never from a request; and what is shown is a whole number of requests.
 */
import type { Metric, Registry } from "prom-client";

/** s; from an answer out of memory to one that a model thinks about for minutes. */
const DURATION_BUCKETS: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

const METHODS: readonly string[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
const OTHER_METHOD = METHODS.length - 1;
const METHOD_INDEXES: ReadonlyMap<string, number> = new Map(METHODS.map((method, index) => [method, index]));

/** By hundreds. */
const STATUS_CLASSES: readonly string[] = ["", "1xx", "2xx", "3xx", "4xx", "5xx"];
const SWITCHING_PROTOCOLS = 101;

/** Of one service. Doubles: they count exactly for longer than 32 bits would. */
class ServiceCounts {
  /** By method and status class. */
  readonly requests = new Float64Array(METHODS.length * STATUS_CLASSES.length);
  /** By the first bucket that holds it; the last is for what none does. */
  readonly durations = new Float64Array(DURATION_BUCKETS.length + 1);
  durationsSum = 0;
}

interface Sample {
  readonly metricName: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

export class RequestSeries {
  readonly #services = new Map<string, ServiceCounts>();

  constructor(registry: Registry) {
    register(registry, {
      name: "byteproxy_requests_total",
      help: "Requests to /proxy that are over, WebSockets included",
      type: "counter",
      read: (name) => this.#requestSamples(name),
    });
    register(registry, {
      name: "byteproxy_request_duration_seconds",
      help: "Time from a request's head to the end of its answer; WebSockets are left out",
      type: "histogram",
      read: (name) => this.#durationSamples(name),
    });
  }

  /** @param service a configured key; empty where none was found, or nobody was let in. */
  count(service: string, method: string, status: number, durationMs: number): void {
    let counts = this.#services.get(service);
    if (counts === undefined) {
      counts = new ServiceCounts();
      this.#services.set(service, counts);
    }
    const { requests, durations } = counts;
    const statusClass = (status / 100) | 0;
    const at = (METHOD_INDEXES.get(method) ?? OTHER_METHOD) * STATUS_CLASSES.length;
    requests[at + (statusClass < STATUS_CLASSES.length ? statusClass : 0)]! += 1;
    if (status === SWITCHING_PROTOCOLS) return;
    const seconds = durationMs / 1000;
    let bucket = 0;
    while (bucket < DURATION_BUCKETS.length && seconds > DURATION_BUCKETS[bucket]!) bucket++;
    durations[bucket]! += 1;
    counts.durationsSum += seconds;
  }

  forget(service: string): void {
    this.#services.delete(service);
  }

  #requestSamples(metricName: string): Sample[] {
    const samples: Sample[] = [];
    for (const [service, { requests }] of this.#services) {
      for (const [index, value] of requests.entries()) {
        const method = METHODS[Math.floor(index / STATUS_CLASSES.length)] as string;
        const status = STATUS_CLASSES[index % STATUS_CLASSES.length] as string;
        if (value > 0) samples.push({ metricName, labels: { service, method, status }, value });
      }
    }
    return samples;
  }

  #durationSamples(name: string): Sample[] {
    const samples: Sample[] = [];
    for (const [service, { durations, durationsSum }] of this.#services) {
      const total = durations.reduce((sum, value) => sum + value, 0);
      // It has had WebSockets only.
      if (total === 0) continue;
      let count = 0;
      for (const [index, value] of durations.entries()) {
        count += value;
        const le = DURATION_BUCKETS[index] ?? "+Inf";
        samples.push({ metricName: `${name}_bucket`, labels: { le, service }, value: count });
      }
      samples.push({ metricName: `${name}_sum`, labels: { service }, value: durationsSum });
      samples.push({ metricName: `${name}_count`, labels: { service }, value: total });
    }
    return samples;
  }
}

interface Series {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "histogram";
  readonly read: (name: string) => Sample[];
}

/** What a registry asks of a metric is its name and `get`; the library's type names its own four classes only. */
function register(registry: Registry, { name, help, type, read }: Series): void {
  const metric = { name, help, type, get: async () => ({ name, help, type, values: read(name), aggregator: "sum" }) };
  registry.registerMetric(metric as unknown as Metric);
}
