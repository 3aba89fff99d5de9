/**
 * Calls the management routes of a running gateway, for commands.
 * Invariant: the key comes from the environment or its files, never from the command line, which every process can read. It is
 * sent to the named address only: redirects are not followed.
 */
import { type IncomingMessage, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { text } from "node:stream/consumers";
import type { ConnectionOptions } from "node:tls";
import { readEnvironment, type Variable } from "../config/env.ts";
import { listenAddresses } from "../config/hosts.ts";
import { readSettings, variablePlace } from "../config/read-settings.ts";
import type { Secret } from "../config/secret.ts";
import type { Settings } from "../config/settings.ts";
import { CATALOG } from "../error-catalog.ts";
import { isObject } from "../is-object.ts";
import { CliFailure, createRefusal } from "./cli-failure.ts";
import { adviceForTls, clientCertificate, ownCertificate } from "./tls-trust.ts";

/** There was no response, or it did not come from ByteProxy. */
export class NoGateway extends CliFailure {
  /** Nothing listens at the address. */
  readonly isRefused: boolean;

  constructor(line: string, { isRefused = false, responseBody }: { isRefused?: boolean; responseBody?: unknown } = {}) {
    super(1, [line], {
      error: "No gateway responds",
      message: line,
      code: "GATEWAY_UNREACHABLE",
      ...(responseBody === undefined ? {} : { response: responseBody }),
    });
    this.isRefused = isRefused;
  }
}

export interface GatewayClient {
  /** Without a slash at its end. */
  readonly url: string;
  /** The body of the response; undefined when it has none. @throws CliFailure */
  ask<T = unknown>(method: string, path: string, more?: AskOptions<T>): Promise<T>;
  /** The same with the ETag of the response. @throws CliFailure */
  askTagged<T = unknown>(method: string, path: string, more?: AskOptions<T>): Promise<Tagged<T>>;
  /** A response with Server-Sent Events, whose body is not read yet. @param signal ends it. @throws CliFailure */
  follow(path: string, signal: AbortSignal): Promise<IncomingMessage>;
}

export interface Tagged<T> {
  readonly body: T;
  readonly entityTag: string | undefined;
}

export interface AskOptions<T> {
  /** The body of the request. */
  readonly body?: unknown;
  /** The change is refused if the state has another ETag. */
  readonly ifMatch?: string | undefined;
  /** Members that every T has: a response without them does not come from ByteProxy. */
  readonly members?: readonly (keyof T & string)[];
}

/** Silence of the gateway that counts as a failure, ms. The test of a service with a long `timeoutMs` takes longest. */
const SILENCE_MS = 120_000;

/** The gateway sends a comment after 15 seconds: a stream that is silent for this long is dead, ms. */
const STREAM_SILENCE_MS = 45_000;

/** @param url of the command line; undefined for the address in the settings. @throws CliFailure */
export function openGatewayClient(url: string | undefined, silenceMs = SILENCE_MS): GatewayClient {
  const address = { ...readGatewayAddress(url), silenceMs };
  async function askTagged<T>(method: string, path: string, options: AskOptions<T> = {}): Promise<Tagged<T>> {
    const { members = [] } = options;
    const response = await send(address, method, path, options).catch((error: NodeJS.ErrnoException) => {
      throw noResponse(address, error);
    });
    const parsed = parse(response.body);
    if (response.status >= 300 || (parsed === undefined && response.body !== "")) {
      throw refusalOf(address, path, response.status, parsed);
    }
    if (members.every((name) => isObject(parsed) && parsed[name] !== undefined)) {
      return { body: parsed as T, entityTag: response.entityTag };
    }
    throw new NoGateway("The response does not come from ByteProxy: is this the gateway's address?", {
      responseBody: parsed,
    });
  }
  return {
    url: address.url,
    askTagged,
    ask: async <T>(method: string, path: string, options?: AskOptions<T>) =>
      (await askTagged<T>(method, path, options)).body,
    async follow(path, signal) {
      const asked = { method: "GET", path, headers: { Accept: "text/event-stream" }, signal };
      const response = await open({ ...address, silenceMs: STREAM_SILENCE_MS }, asked).catch((error) => {
        throw noResponse(address, error);
      });
      const { statusCode: status = 0, headers } = response;
      if (status === 200 && headers["content-type"]?.startsWith("text/event-stream")) return response;
      const body = await text(response).catch(() => "");
      throw refusalOf(address, path, status, parse(body));
    },
  };
}

/** What a command changes: a running gateway, or DATA_DIR itself. */
export interface Backend {
  close(): Promise<void>;
}

export interface BackendKinds<B extends Backend> {
  readonly online: (client: GatewayClient) => B;
  /** Loads the stores. @throws CliFailure */
  readonly offline: () => Promise<B>;
}

/** Opens the backend, and closes it after `work`. @throws CliFailure */
export async function withBackend<B extends Backend, T>(
  { url, offline }: { readonly url?: string; readonly offline?: boolean },
  kinds: BackendKinds<B>,
  work: (backend: B) => Promise<T>,
): Promise<T> {
  const backend = offline === true ? await kinds.offline() : kinds.online(openGatewayClient(url));
  try {
    return await work(backend);
  } finally {
    await backend.close();
  }
}

interface GatewayAddress {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: Secret | undefined;
  /** `MANAGEMENT_API_KEY (.env)`; undefined without a key. */
  readonly keyPlace: string | undefined;
  /** Of an https gateway. */
  readonly trust: ConnectionOptions;
}

/** The settings that a client needs: problems of other settings do not stop a command. */
const ADDRESS = /^(HOST|PORT|MANAGEMENT_HOST|MANAGEMENT_PORT|TLS_CERT_FILE)\b/;
const KEY = /^MANAGEMENT_API_KEY(_FILE)?\b/;

/** The address and key of the gateway that would start in this folder. @throws CliFailure */
function readGatewayAddress(url: string | undefined): GatewayAddress {
  const { variables } = readEnvironment();
  const found: string[] = [];
  const { settings } = readSettings(variables, process.cwd(), found);
  const problems = found.filter((line) => KEY.test(line) || (url === undefined && ADDRESS.test(line)));
  if (problems.length > 0) throw new CliFailure(2, problems);
  const key = settings.MANAGEMENT_API_KEY;
  const trust = { ...(url === undefined ? ownCertificate(settings) : {}), ...clientCertificate(variables) };
  return { url: url ?? urlOf(settings), key, keyPlace: key && placeOf(variables), trust };
}

function placeOf(variables: ReadonlyMap<string, Variable>): string {
  const name = variables.has("MANAGEMENT_API_KEY") ? "MANAGEMENT_API_KEY" : "MANAGEMENT_API_KEY_FILE";
  return variablePlace(name, variables.get(name) as Variable);
}

function urlOf({ HOST, PORT, MANAGEMENT_HOST, MANAGEMENT_PORT, TLS_CERT_FILE }: Settings): string {
  const [host, port] = MANAGEMENT_PORT === undefined ? [HOST, PORT] : [MANAGEMENT_HOST ?? HOST, MANAGEMENT_PORT];
  if (port === 0) {
    throw new CliFailure(2, [
      "The settings let the system choose the port (0): name the gateway's address with --url.",
    ]);
  }
  // A listener on all addresses is on the loopback address too.
  const [first = host] = listenAddresses(host);
  const local = first === "0.0.0.0" ? "127.0.0.1" : first === "::" ? "::1" : first;
  return `${TLS_CERT_FILE === undefined ? "http" : "https"}://${local.includes(":") ? `[${local}]` : local}:${port}`;
}

interface RawResponse {
  readonly status: number;
  readonly body: string;
  readonly entityTag: string | undefined;
}

interface RequestToSend {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly content?: string | undefined;
  readonly signal?: AbortSignal;
}

type ReachedAddress = GatewayAddress & { readonly silenceMs: number };

async function send(
  address: ReachedAddress,
  method: string,
  path: string,
  { body, ifMatch }: Pick<AskOptions<unknown>, "body" | "ifMatch">,
): Promise<RawResponse> {
  const content = body === undefined ? undefined : JSON.stringify(body);
  const headers = {
    Accept: "application/json",
    ...(ifMatch === undefined ? {} : { "If-Match": ifMatch }),
    ...(content === undefined ? {} : { "Content-Type": "application/json" }),
  };
  const response = await open(address, { method, path, headers, content });
  return { status: response.statusCode ?? 0, body: await text(response), entityTag: response.headers.etag };
}

/** By node:http: `fetch` refuses the ports that browsers refuse, and its errors say less. */
function open({ url, key, silenceMs, trust }: ReachedAddress, asked: RequestToSend): Promise<IncomingMessage> {
  const { path, content, ...others } = asked;
  const request = url.startsWith("https:") ? requestHttps : requestHttp;
  const headers = {
    ...asked.headers,
    ...(key === undefined ? {} : { "X-Api-Key": key.reveal() }),
    ...(content === undefined ? {} : { "Content-Length": Buffer.byteLength(content) }),
  };
  return new Promise((resolve, reject) => {
    const asking = request(`${url}${path}`, { ...others, ...trust, headers, agent: false, timeout: silenceMs });
    asking.on("error", reject);
    asking.on("timeout", () => asking.destroy(Object.assign(new Error("silence"), { code: "ETIMEDOUT" })));
    asking.on("response", resolve);
    asking.end(content);
  });
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function noResponse({ url }: GatewayAddress, { code = "" }: NodeJS.ErrnoException): NoGateway {
  const advice = adviceForTls(code);
  if (advice !== undefined) return new NoGateway(`${url} was reached, but ${advice}`);
  const isRefused = code === "ECONNREFUSED";
  const why = isRefused ? "" : ` (${code || "no HTTP"})`;
  return new NoGateway(`No gateway responds at ${url}${why}. Is it running? (byteproxy start)`, { isRefused });
}

function refusalOf({ url, key, keyPlace }: GatewayAddress, path: string, status: number, body: unknown): CliFailure {
  if (!isObject(body) || typeof body.code !== "string" || typeof body.message !== "string") {
    return new NoGateway(`${url} responded with ${status}, but not as ByteProxy does: is this the gateway's address?`);
  }
  const { code, message, hint, details } = body as { code: string; message: string; hint: unknown; details: unknown };
  switch (code) {
    case "MISSING_CREDENTIALS":
    case "INVALID_API_KEY":
      return createRefusal({ code, message, hint: key === undefined ? NO_KEY : `It was read from ${keyPlace}.` }, body);
    case "NOT_FOUND": {
      // A missing key, for example, has a hint of its own.
      if (hint !== undefined && hint !== CATALOG.NOT_FOUND.hint) return createRefusal({ code, message, hint }, body);
      const missing = `There is no route ${url}${path.replace(/\?.*/, "")}.`;
      return createRefusal({ code, message: missing, hint: NO_ROUTE }, body);
    }
    default:
      return createRefusal({ code, message, hint, details }, body);
  }
}

const NO_KEY = "Set MANAGEMENT_API_KEY or MANAGEMENT_API_KEY_FILE for this command, in the environment or in .env.";
const NO_ROUTE =
  "The gateway's version does not have it, or serves it on its second listener (MANAGEMENT_PORT): name that address with --url.";
