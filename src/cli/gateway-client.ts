/**
 * Asks a running gateway over its management routes.
 * Invariant: the key goes to the address that was named and nowhere else: no redirect is followed.
 */
import { request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { text } from "node:stream/consumers";
import { isObject } from "../is-object.ts";
import { CliFailure, refused } from "./cli-failure.ts";
import { type GatewayAddress, readGatewayAddress } from "./gateway-address.ts";

/** Nobody is there who answers as a gateway does: none runs, or something else does. */
export class NoGateway extends CliFailure {
  /** Nothing listens there. */
  readonly isRefused: boolean;

  constructor(line: string, { isRefused = false, answer }: { isRefused?: boolean; answer?: unknown } = {}) {
    super(1, [line], answer);
    this.isRefused = isRefused;
  }
}

export interface GatewayClient {
  /** Without a slash at its end. */
  readonly url: string;
  /** The body of the answer; undefined where it has none. @param path from `/manage` on. @throws CliFailure */
  ask(method: string, path: string, body?: unknown): Promise<unknown>;
}

/** Silence that is an end, ms: a test of a service with a long `timeoutMs` is the longest that there is to wait for. */
const SILENCE_MS = 120_000;

/**
 * @param url of the command line; the settings' own when left out. @param silenceMs that is an end. @throws CliFailure
 */
export function openGatewayClient(url: string | undefined, silenceMs = SILENCE_MS): GatewayClient {
  const address = { ...readGatewayAddress(url), silenceMs };
  return {
    url: address.url,
    async ask(method, path, body) {
      const answer = await send(address, method, path, body).catch((error: NodeJS.ErrnoException) => {
        throw unanswered(address, error);
      });
      const parsed = parse(answer.body);
      if (answer.status < 300 && (parsed !== undefined || answer.body === "")) return parsed;
      throw refusalOf(address, path, answer.status, parsed);
    },
  };
}

/** The body as what it has to be. @param members that it cannot be without. @throws CliFailure */
export function answerOf<T>(body: unknown, ...members: readonly (keyof T & string)[]): T {
  if (isObject(body) && members.every((name) => body[name] !== undefined)) return body as T;
  throw new NoGateway("What answered does not answer as ByteProxy does: is it the gateway's address?", {
    answer: body,
  });
}

interface RawAnswer {
  readonly status: number;
  readonly body: string;
}

/** With node:http: `fetch` keeps away from ports that browsers do, and says less of what went wrong. */
function send(
  { url, key, silenceMs }: GatewayAddress & { readonly silenceMs: number },
  method: string,
  path: string,
  body: unknown,
): Promise<RawAnswer> {
  const content = body === undefined ? undefined : JSON.stringify(body);
  const request = url.startsWith("https:") ? requestHttps : requestHttp;
  const headers = {
    Accept: "application/json",
    ...(key === undefined ? {} : { "X-Api-Key": key.reveal() }),
    ...(content === undefined
      ? {}
      : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(content) }),
  };
  return new Promise((resolve, reject) => {
    const asking = request(`${url}${path}`, { method, headers, agent: false, timeout: silenceMs });
    asking.on("error", reject);
    asking.on("timeout", () => asking.destroy(Object.assign(new Error("silence"), { code: "ETIMEDOUT" })));
    asking.on("response", (response) => {
      text(response).then((all) => resolve({ status: response.statusCode ?? 0, body: all }), reject);
    });
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

function unanswered({ url }: GatewayAddress, { code }: NodeJS.ErrnoException): NoGateway {
  const isRefused = code === "ECONNREFUSED";
  const why = isRefused ? "" : ` (${code ?? "no HTTP"})`;
  return new NoGateway(`nothing answers at ${url}${why}: is it running? (byteproxy start)`, { isRefused });
}

function refusalOf({ url, key, keyPlace }: GatewayAddress, path: string, status: number, body: unknown): CliFailure {
  if (!isObject(body) || typeof body.code !== "string" || typeof body.message !== "string") {
    return new NoGateway(`${url} answered ${status}, but not as ByteProxy does: is it the gateway's address?`);
  }
  const { code, message, hint, details } = body as { code: string; message: string; hint: unknown; details: unknown };
  switch (code) {
    case "MISSING_CREDENTIALS":
    case "INVALID_API_KEY":
      return refused({ code, message, hint: key === undefined ? NO_KEY : `It was read from ${keyPlace}.` }, body);
    case "NOT_FOUND": {
      const missing = `There is nothing at ${url}${path.replace(/\?.*/, "")}.`;
      return refused({ code, message: missing, hint: NO_ROUTE }, body);
    }
    default:
      return refused({ code, message, hint, details }, body);
  }
}

const NO_KEY = "Set MANAGEMENT_API_KEY or MANAGEMENT_API_KEY_FILE for this command, in the environment or in .env.";
const NO_ROUTE =
  "The gateway is of a version without it, or serves it on its second listener (MANAGEMENT_PORT): name that one with --url.";
