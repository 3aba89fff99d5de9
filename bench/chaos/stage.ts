/**
 * What a fault has before it: a gateway, the upstream that is hurt, its neighbour, and a steady load on both.
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
  /** Requests a second on the hurt service; its neighbour gets half as many. */
  readonly perSecond: number;
}

/** Between two looks at what is open; it has settled when both see the same. */
const SETTLE_MS = 250;
const SETTLE_LOOKS = 40;

export class Stage {
  readonly gateway: GatewayProcess;
  readonly hurt: UpstreamProcess;
  readonly neighbour: UpstreamProcess;
  readonly #perSecond: number;
  readonly #crowd = new Set<Socket>();
  hurtLoad!: Load;
  neighbourLoad!: Load;

  private constructor(gateway: GatewayProcess, hurt: UpstreamProcess, neighbour: UpstreamProcess, perSecond: number) {
    this.gateway = gateway;
    this.hurt = hurt;
    this.neighbour = neighbour;
    this.#perSecond = perSecond;
  }

  /** @param openFiles limit of the gateway's descriptors. */
  static async open(
    processes: Processes,
    { main, compiled, perSecond }: StageSetup,
    openFiles?: number,
  ): Promise<Stage> {
    const upstream = () => new UpstreamProcess(processes, join(compiled, "chaos", "upstream.js"));
    const [hurt, neighbour] = [upstream(), upstream()];
    await Promise.all([hurt.start(), neighbour.start()]);
    const switches = join(compiled, "chaos", "switches.js");
    const services = servicesOf(hurt.port, neighbour.port);
    const gateway = await GatewayProcess.start(processes, { main, switches, services, openFiles });
    return new Stage(gateway, hurt, neighbour, perSecond);
  }

  startLoad(): void {
    this.hurtLoad = new Load(this.gateway.port, "hurt", this.#perSecond);
    this.neighbourLoad = new Load(this.gateway.port, "neighbour", this.#perSecond / 2);
  }

  async stopLoad(): Promise<void> {
    await Promise.all([this.hurtLoad.stop(), this.neighbourLoad.stop()]);
  }

  /** What the gateway holds when nobody asks and no upstream is there; upstreams are new ones afterwards. */
  async holdingsAtRest(): Promise<Holdings> {
    const upstreams = [this.hurt, this.neighbour];
    await Promise.all(upstreams.map((upstream) => upstream.stop()));
    let before = await this.gateway.holdings();
    for (let look = 0; look < SETTLE_LOOKS; look++) {
      await delay(SETTLE_MS);
      const now = await this.gateway.holdings();
      if (now.descriptors === before.descriptors) break;
      before = now;
    }
    await Promise.all(upstreams.map((upstream) => upstream.start()));
    return this.gateway.holdings();
  }

  /** Connections that send this and never read. */
  openCrowd(count: number, text: string): void {
    for (let i = 0; i < count; i++) {
      const socket = connect(this.gateway.port, "127.0.0.1", () => socket.write(text));
      socket.on("error", () => socket.destroy());
      this.#crowd.add(socket);
    }
  }

  /** @throws when there was room for all of them. */
  async untilCrowdIsTurnedAway(): Promise<void> {
    for (let look = 0; look < SETTLE_LOOKS; look++) {
      if ([...this.#crowd].some(({ destroyed }) => destroyed)) return;
      await delay(SETTLE_MS);
    }
    throw new Error("the gateway took in the whole crowd");
  }

  closeCrowd(): void {
    for (const socket of this.#crowd) socket.destroy();
    this.#crowd.clear();
  }

  async close(): Promise<void> {
    await this.gateway.end();
    await Promise.all([this.hurt.stop(), this.neighbour.stop()]);
  }
}

function servicesOf(hurtPort: number, neighbourPort: number): unknown {
  return {
    hurt: {
      baseUrl: `http://${TEST_NAME}:${hurtPort}`,
      ws: true,
      timeoutMs: DEADLINE_MS,
      connectTimeoutMs: DEADLINE_MS,
      idleTimeoutMs: DEADLINE_MS,
      // In play, never reached.
      rateLimit: { maxRequests: 1_000_000_000, windowMs: 60_000 },
      breaker: BREAKER,
    },
    neighbour: { baseUrl: `http://127.0.0.1:${neighbourPort}`, ws: true },
  };
}
