/**
 * The environment of a fault: a gateway, the affected upstream, its neighbour, and a steady load on both.
 * Invariant: the two services share nothing but the gateway.
 */
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Processes } from "../processes.ts";
import { GatewayProcess, type Holdings } from "./gateway-process.ts";
import { BREAKER, DEADLINE_MS } from "./limits.ts";
import { Load } from "./load.ts";
import { TEST_NAME } from "./test-name.ts";
import { UpstreamProcess } from "./upstream-process.ts";

export interface StageSetup {
  /** The built gateway: dist/main.js. */
  readonly main: string;
  /** Folder of the compiled bench. */
  readonly compiled: string;
  /** Requests a second on the affected service; its neighbour gets half as many. */
  readonly perSecond: number;
}

/** Between two counts of descriptors; the gateway has settled when both are equal. */
const SETTLE_MS = 250;
const SETTLE_POLLS = 40;

export class Stage {
  readonly gateway: GatewayProcess;
  readonly affected: UpstreamProcess;
  readonly neighbour: UpstreamProcess;
  readonly #perSecond: number;
  readonly #crowd = new Set<Socket>();
  affectedLoad!: Load;
  neighbourLoad!: Load;

  private constructor(
    gateway: GatewayProcess,
    affected: UpstreamProcess,
    neighbour: UpstreamProcess,
    perSecond: number,
  ) {
    this.gateway = gateway;
    this.affected = affected;
    this.neighbour = neighbour;
    this.#perSecond = perSecond;
  }

  /** @param openFiles limits the gateway's descriptors. */
  static async open(
    processes: Processes,
    { main, compiled, perSecond }: StageSetup,
    openFiles?: number,
  ): Promise<Stage> {
    const upstream = () => new UpstreamProcess(processes, join(compiled, "chaos", "upstream.js"));
    const [affected, neighbour] = [upstream(), upstream()];
    await Promise.all([affected.start(), neighbour.start()]);
    const switches = join(compiled, "chaos", "switches.js");
    const services = servicesOf(affected.port, neighbour.port);
    const gateway = await GatewayProcess.start(processes, { main, switches, services, openFiles });
    return new Stage(gateway, affected, neighbour, perSecond);
  }

  startLoad(): void {
    this.affectedLoad = new Load(this.gateway.port, "affected", this.#perSecond);
    this.neighbourLoad = new Load(this.gateway.port, "neighbour", this.#perSecond / 2);
  }

  async stopLoad(): Promise<void> {
    await Promise.all([this.affectedLoad.stop(), this.neighbourLoad.stop()]);
  }

  /** What the gateway holds without requests and upstreams. The upstreams are started again afterwards. */
  async holdingsAtRest(): Promise<Holdings> {
    const upstreams = [this.affected, this.neighbour];
    await Promise.all(upstreams.map((upstream) => upstream.stop()));
    let before = await this.gateway.holdings();
    for (let poll = 0; poll < SETTLE_POLLS; poll++) {
      await delay(SETTLE_MS);
      const now = await this.gateway.holdings();
      if (now.descriptors === before.descriptors) break;
      before = now;
    }
    await Promise.all(upstreams.map((upstream) => upstream.start()));
    return this.gateway.holdings();
  }

  /** Opens connections that send this text and never read. */
  openCrowd(count: number, text: string): void {
    for (let i = 0; i < count; i++) {
      const socket = connect(this.gateway.port, "127.0.0.1", () => socket.write(text));
      socket.on("error", () => socket.destroy());
      this.#crowd.add(socket);
    }
  }

  /** @throws if the gateway accepts all of them. */
  async untilSomeAreRefused(): Promise<void> {
    for (let poll = 0; poll < SETTLE_POLLS; poll++) {
      if ([...this.#crowd].some(({ destroyed }) => destroyed)) return;
      await delay(SETTLE_MS);
    }
    throw new Error("the gateway accepted every connection");
  }

  closeCrowd(): void {
    for (const socket of this.#crowd) socket.destroy();
    this.#crowd.clear();
  }

  async close(): Promise<void> {
    await this.gateway.end();
    await Promise.all([this.affected.stop(), this.neighbour.stop()]);
  }
}

function servicesOf(affectedPort: number, neighbourPort: number): unknown {
  return {
    affected: {
      baseUrl: `http://${TEST_NAME}:${affectedPort}`,
      ws: true,
      timeoutMs: DEADLINE_MS,
      connectTimeoutMs: DEADLINE_MS,
      idleTimeoutMs: DEADLINE_MS,
      // Counted, but never reached.
      rateLimit: { maxRequests: 1_000_000_000, windowMs: 60_000 },
      breaker: BREAKER,
    },
    neighbour: { baseUrl: `http://127.0.0.1:${neighbourPort}`, ws: true },
  };
}
