/** A recipe as it is written, through a gateway, against a stand-in for its API that accepts one credential and nothing else. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { expect } from "vitest";
import { fillRecipe, readRecipe } from "../../src/config/recipes.ts";
import type { ServiceInput } from "../../src/config/schema.ts";
import { freePort } from "./free-port.ts";
import { PROXY_KEY, startGateway, type TestGateway } from "./gateway.ts";
import { startUpstream } from "./upstream.ts";

export interface StandInSetup {
  /** Values of the recipe's inputs. */
  readonly inputs?: Readonly<Record<string, string>>;
  /** The secrets of the gateway, by variable. */
  readonly env: Readonly<Record<string, string>>;
  /** Whether the request carries the credential as the vendor documents it. */
  readonly accepts: (req: IncomingMessage) => boolean;
  /** The API, for requests with the right credential. */
  readonly respond: (req: IncomingMessage, res: ServerResponse) => void;
  /** Its response to every other request; 401 without a body if left out. */
  readonly refuse?: (req: IncomingMessage, res: ServerResponse) => void;
  /** The service has a port of its own. */
  readonly hasPort?: boolean;
}

export interface StandIn {
  readonly gateway: TestGateway;
  /** The service at the gateway, without a slash at its end. */
  readonly url: string;
  /** The port of its own; 0 if it has none. */
  readonly port: number;
  /** Lines such as `GET /v1/x` of the requests with the right credential. */
  readonly accepted: readonly string[];
  /** The same of all other requests. */
  readonly refused: readonly string[];
  /** All bytes that arrived. Fails the test if the gateway's key is in them, as text or in base64. */
  received(): string;
}

export async function startStandIn(name: string, setup: StandInSetup): Promise<StandIn> {
  const { env, accepts, respond, refuse = (_, res) => res.writeHead(401).end() } = setup;
  const accepted: string[] = [];
  const refused: string[] = [];
  let bytes = "";
  const server = createServer();
  server.on("connection", (socket) =>
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.toString("latin1");
    }),
  );
  const upstream = await startUpstream((req, res) => {
    const isRight = accepts(req);
    (isRight ? accepted : refused).push(`${req.method} ${req.url}`);
    (isRight ? respond : refuse)(req, res);
  }, server);
  const filled = fillRecipe(readRecipe(name), { inputs: new Map(Object.entries(setup.inputs ?? {})) });
  if ("problems" in filled) throw new Error(filled.problems.join("; "));
  const port = setup.hasPort ? await freePort() : 0;
  const service = { ...withOrigin(filled.service, upstream.url), ...(setup.hasPort ? { port } : {}) };
  const gateway = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY, ...env }, services: { [name]: service } });
  return {
    gateway,
    url: setup.hasPort ? `http://127.0.0.1:${port}` : `${gateway.url}/proxy/${name}`,
    port,
    accepted,
    refused,
    received() {
      for (const key of spellings(PROXY_KEY)) expect(bytes).not.toContain(key);
      return bytes;
    },
  };
}

export function sendJson(res: ServerResponse, body: unknown, status = 200): void {
  res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** The recipe's URLs with the origin of the stand-in. */
function withOrigin(service: ServiceInput, origin: string): ServiceInput {
  const moved = (url: string) => `${origin}${new URL(url).pathname}`;
  const versions = Object.entries(service.versionedBaseUrls ?? {}).map(([version, url]) => [version, moved(url)]);
  return { ...service, baseUrl: moved(service.baseUrl), versionedBaseUrls: Object.fromEntries(versions) };
}

/** The key as text, and the characters of its base64 that do not depend on what is around it, after a user name of any length. */
function spellings(key: string): string[] {
  const encoded = ["", "a", "ab"].map((before) =>
    Buffer.from(before + key)
      .toString("base64")
      .slice(4, -4),
  );
  return [key, ...encoded];
}
