/**
 * Runs one scenario over simulated time, with network latency.
 * Invariant: callers react only to responses, the upstream only to requests, and the quota sees only what it would see in the gateway.
 */
import { CredentialQuota } from "../../src/data-plane/quota/credential-quota.ts";
import { readQuota } from "../../src/data-plane/quota/read-quota.ts";
import { createLedger } from "../../src/stores/ledger.ts";
import { Random } from "./random.ts";
import type { Scenario, SimulatedRequest, SimulatedUpstream, Stream } from "./scenario.ts";
import { type Tallied, Tally } from "./tally.ts";
import { VirtualClock } from "./virtual-clock.ts";

/**
 * `off`: without the quota; a refused client backs off 1 s, 2 s, 4 s … up to a minute, ± 50%, as clients do that ignore headers.
 * `hold`: through the quota; a request that it refuses is retried at the time in the refusal. `ideal`: a client without a network that
 * knows all limits and the upstream's clock; it shows what the rules allow.
 */
export type Mode = "off" | "hold" | "ideal";

/** One way, ms. */
const LATENCY_MS = [20, 120] as const;

const LEASE_MS = 60_000;

/** @param durationMs shorter than the scenario's for a quick check. */
export async function simulate(scenario: Scenario, mode: Mode, durationMs = scenario.durationMs): Promise<Tallied> {
  const run = new Run(scenario, mode, durationMs);
  return run.finish();
}

class Run {
  readonly #scenario: Scenario;
  readonly #clock = new VirtualClock();
  readonly #random = new Random(20_260_101);
  readonly #upstream: SimulatedUpstream;
  readonly #quota: CredentialQuota;
  readonly #tally: Tally;
  readonly #durationMs: number;
  readonly #endsAt: number;
  readonly #send: (stream: Stream, wantedAt: number) => Promise<void>;
  /** The last waiting request of each kind in `ideal` mode: they are sent one after another. */
  readonly #idealQueue = new Map<string, Promise<void>>();

  constructor(scenario: Scenario, mode: Mode, durationMs: number) {
    this.#scenario = scenario;
    this.#durationMs = durationMs;
    this.#upstream = scenario.createUpstream();
    this.#endsAt = this.#clock.now() + durationMs;
    const { rules } = scenario;
    const clock = this.#clock;
    this.#quota = new CredentialQuota({ rules, ledger: createLedger(), prefix: "s\nc\n", maxQueue: 1_000, clock });
    this.#tally = new Tally(scenario);
    const senders = { off: this.#sendStraight, hold: this.#sendHeld, ideal: this.#sendIdeally };
    this.#send = senders[mode].bind(this);
  }

  async finish(): Promise<Tallied> {
    for (const stream of this.#scenario.streams) void this.#keepSending(stream);
    await this.#clock.run(this.#durationMs);
    return this.#tally.result();
  }

  async #keepSending(stream: Stream): Promise<void> {
    await this.#clock.sleep(this.#random.whole(0, 2_000));
    for (;;) {
      const burst = Array.from({ length: this.#random.whole(...stream.burst) }, () => {
        this.#tally.wanted(stream, this.#clock.now());
        return this.#send(stream, this.#clock.now());
      });
      await Promise.all(burst);
      await this.#clock.sleep(this.#random.whole(...stream.pauseMs));
    }
  }

  async #sendStraight(stream: Stream, wantedAt: number): Promise<void> {
    for (let backoffMs = 1_000; ; backoffMs = Math.min(60_000, backoffMs * 2)) {
      const sentAt = this.#clock.now();
      const { isRefusal } = await this.#exchange(stream.request);
      if (!isRefusal) {
        this.#tally.sent(stream, wantedAt, sentAt);
        this.#tally.served(stream);
        return;
      }
      this.#tally.refused();
      await this.#clock.sleep(Math.round(backoffMs * this.#random.between(0.5, 1.5)));
    }
  }

  async #sendHeld(stream: Stream, wantedAt: number): Promise<void> {
    const { callerId, request } = stream;
    const { rules, maxWaitMs } = this.#scenario;
    for (;;) {
      const route = rules.routeOf(request.method, request.path);
      const outcome = await this.#quota.admit({ ...request, route, callerId, maxWaitMs, leaseMs: LEASE_MS }, () => {});
      if (outcome === undefined) throw new Error("the request was removed from the queue");
      if ("reason" in outcome) {
        this.#tally.refusedByGateway();
        await this.#clock.sleep(outcome.retryAt - this.#clock.now());
        continue;
      }
      this.#tally.sent(stream, wantedAt, this.#clock.now());
      const { status, headers, isRefusal } = await this.#exchange(request);
      const now = this.#clock.now();
      const reading = readQuota(headers, now);
      outcome.responded({ status, reading, closure: rules.closureOf(status, reading, now) });
      if (!isRefusal) return this.#tally.served(stream);
      this.#tally.refused();
    }
  }

  async #sendIdeally(stream: Stream, wantedAt: number): Promise<void> {
    const before = this.#idealQueue.get(stream.kind);
    let done = () => {};
    this.#idealQueue.set(stream.kind, new Promise((resolve) => (done = resolve)));
    await before;
    for (;;) {
      const now = this.#clock.now();
      const at = this.#upstream.freeAt(stream.request, now);
      if (at <= now) break;
      await this.#clock.sleep(at - now);
    }
    this.#upstream.arrive(stream.request, this.#clock.now());
    this.#upstream.leave(stream.request);
    this.#tally.sent(stream, wantedAt, this.#clock.now());
    this.#tally.served(stream);
    done();
    // The least duration of a response, so that bursts do not follow each other at the same time.
    await this.#clock.sleep(1);
  }

  async #exchange(request: SimulatedRequest) {
    await this.#clock.sleep(this.#random.whole(...LATENCY_MS));
    const response = this.#upstream.arrive(request, this.#clock.now());
    if (response.status < 400) await this.#clock.sleep(this.#random.whole(...this.#scenario.serviceMs));
    this.#upstream.leave(request);
    await this.#clock.sleep(this.#random.whole(...LATENCY_MS));
    // A response after the end is not counted.
    if (this.#clock.now() > this.#endsAt) await new Promise(() => {});
    return response;
  }
}
