/** A gateway whose service `api` has idempotency, in front of an upstream that a test scripts. */
import {
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type ServerResponse,
} from "node:http";
import type { ServiceInput } from "../../src/config/schema.ts";
import { type GatewaySetup, MANAGEMENT_KEY, PROXY_KEY, startGateway, type TestGateway } from "./gateway.ts";
import { bodyOf, startUpstream } from "./upstream.ts";

export interface Received {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly code: string | undefined;
  readonly isReplayed: boolean;
  readonly isCut: boolean;
}

export interface SentRequest {
  readonly request: ClientRequest;
  readonly received: Promise<Received>;
}

export interface SentBody {
  readonly req: IncomingMessage;
  readonly body: string;
}

type Respond = (res: ServerResponse, sent: SentBody, count: number) => void;

export interface OnceApi {
  readonly gateway: TestGateway;
  readonly upstreamUrl: string;
  /** Requests that the upstream received whole. */
  readonly requests: readonly SentBody[];
  respond: Respond;
  post(key: string | readonly string[], body?: string, more?: PostOptions): Promise<Received>;
  send(key: string | readonly string[], body?: string, more?: PostOptions): SentRequest;
}

export interface PostOptions {
  readonly headers?: Record<string, string | string[]>;
  readonly method?: string;
  readonly path?: string;
  readonly apiKey?: string;
}

/** @param service of `api`. */
export async function startOnceApi(service: Partial<ServiceInput> = {}, setup: GatewaySetup = {}): Promise<OnceApi> {
  const requests: SentBody[] = [];
  const api: { respond: Respond } = {
    respond: (res, { body }, count) => res.writeHead(201, { "content-type": "text/plain" }).end(`${count}: ${body}`),
  };
  const upstream = await startUpstream((req, res) => {
    bodyOf(req).then(
      (body) => {
        const sent = { req, body: body.toString() };
        api.respond(res, sent, requests.push(sent));
      },
      () => {},
    );
  });
  const gateway = await startGateway({
    ...setup,
    env: { PROXY_API_KEY: PROXY_KEY, MANAGEMENT_API_KEY: MANAGEMENT_KEY, ...setup.env },
    services: { api: { baseUrl: upstream.url, idempotency: true, ...service }, ...setup.services },
  });
  const send = (key: string | readonly string[], body?: string, more?: PostOptions) =>
    sendTo(gateway.port, key, body, more);
  return Object.assign(api, {
    gateway,
    upstreamUrl: upstream.url,
    requests,
    send,
    post: (...args: Parameters<typeof send>) => send(...args).received,
  });
}

/** @param key of the header Idempotency-Key; an empty list sends none. */
export function sendTo(
  port: number,
  key: string | readonly string[],
  body = "amount=1",
  { headers = {}, method = "POST", path = "/proxy/api/charges", apiKey = PROXY_KEY }: PostOptions = {},
): SentRequest {
  const keyed = key.length === 0 && typeof key !== "string" ? {} : { "idempotency-key": key as string };
  const all = { "x-api-key": apiKey, "content-type": "text/plain", ...keyed, ...headers };
  const sent = request({ host: "127.0.0.1", port, path, method, headers: all, agent: false });
  const received = new Promise<Received>((resolve, reject) => {
    sent.on("error", reject);
    sent.on("response", (res) => {
      let text = "";
      res.setEncoding("latin1");
      res.on("data", (chunk) => {
        text += chunk;
      });
      res.on("error", () => {});
      res.on("close", () => {
        const code = res.headers["x-proxy-error"] as string | undefined;
        const isReplayed = res.headers["idempotency-replayed"] === "true";
        const { statusCode: status = 0, headers: fields, complete } = res;
        resolve({ status, headers: fields, body: text, code, isReplayed, isCut: !complete });
      });
    });
  });
  received.catch(() => {});
  sent.end(body);
  return { request: sent, received };
}
