/** The shape of a workload: what the load sends on each connection, how it verifies what arrives, and what one unit is. */

/** All contestants, in the order of the tables; "against" is the gateway of another checkout, "plain" this one without the workload's option. */
export const CONTESTANTS = [
  "gateway",
  "against",
  "plain",
  "undici",
  "http-proxy-3",
  "fastify-http-proxy",
  "http-proxy-middleware",
  "nginx",
] as const;
export type ContestantName = (typeof CONTESTANTS)[number];

/** CPU per unit of ByteProxy divided by that of another contestant. */
export interface Goal {
  readonly than: ContestantName;
  readonly atMost: number;
  readonly isStretch?: boolean;
}

/** A contestant as the load sees it. */
export interface Target {
  readonly port: number;
  /** What precedes the origin's paths. */
  readonly prefix: string;
  readonly apiKey: string;
  /** The authority of its certificate; undefined for plain HTTP. */
  readonly caFile?: string | undefined;
}

/** What a client may do with its connection. */
export interface Wire {
  /** Sends to the contestant. The latency of the next unit begins. */
  send(bytes: Buffer): void;
  /** Asks the origin directly for the next event of this connection's stream. The latency of the next unit begins. */
  requestEvent(): void;
  /** Reports a complete and correct unit. @returns whether to begin another one. */
  onUnit(): boolean;
}

/** One connection of the load, with one unit in flight. */
export interface Client {
  /** Called once, when the connection is open. */
  start(): void;
  /** @throws at the first byte that is not the expected one. */
  onData(chunk: Buffer): void;
}

/** Creates the client of a connection. @param number counts the connections of a round from 0. */
export type CreateClient = (number: number, wire: Wire) => Client;

export type ServiceOption = "scrubBodies" | "cache";

export interface Workload {
  readonly name: string;
  readonly title: string;
  readonly unit: "request" | "event" | "message";
  readonly contestants: readonly ContestantName[];
  readonly goals: readonly Goal[];
  /** The side of the contestants with TLS: their connections from the load, or those to the origin. */
  readonly secureSide?: "load" | "origin";
  /** All units of a connection belong to one request. */
  readonly isLongLived: boolean;
  /** The option of the gateway's service that is measured. */
  readonly option?: ServiceOption;
  /** Called once per round, so that no connection has to build its bytes. */
  prepare(target: Target): CreateClient;
}
