/** One request to an endpoint that issues tokens, and what its failures mean. */
import { TokenFailure } from "./access-token.ts";

export interface EndpointRequest {
  readonly method: "GET" | "POST";
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal: AbortSignal;
}

export interface EndpointResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly text: string;
}

/** Bounded in time and size, without redirects. @throws Error with a message that may be logged. */
export type SendToEndpoint = (url: string, request: EndpointRequest) => Promise<EndpointResponse>;

/** How the endpoints of one service are reached. */
export interface EndpointAccess {
  readonly send: SendToEndpoint;
  /** Compares two of them. */
  readonly way: string;
}

const LONGEST_RETRY_AFTER_SECONDS = 300;

/** @throws TokenFailure without a response; a response with any status is returned. */
export async function askEndpoint(
  url: string,
  request: EndpointRequest,
  send: SendToEndpoint,
): Promise<EndpointResponse> {
  try {
    return await send(url, request);
  } catch (error) {
    throw new TokenFailure("could not be used: the connection failed, or there was no response in time", {
      detail: (error as Error).message,
    });
  }
}

/** @param reason a word or a sentence of ours about the status; empty for none. @param code of the response (RFC 6749 section 5.2). */
export function refusalOf({ status, headers }: EndpointResponse, reason = "", code?: string): TokenFailure {
  return new TokenFailure(`responded with ${status}${reason === "" ? "" : ` (${reason})`}`, {
    retryAfterMs: retryAfterOf(headers["retry-after"]),
    code,
  });
}

/** Seconds. Servers accept what was signed only if its times are not further away from their own clock. */
const TOLERATED_SKEW = 60;

/** Why an endpoint may refuse what the gateway has signed; undefined where the clocks agree. */
export function describeSkew({ headers: { date } }: Pick<EndpointResponse, "headers">): string | undefined {
  const skew = typeof date === "string" ? Math.round((Date.now() - Date.parse(date)) / 1_000) : 0;
  if (!(Math.abs(skew) >= TOLERATED_SKEW)) return undefined;
  return `the clock of this machine is ${Math.abs(skew)} seconds ${skew > 0 ? "ahead of" : "behind"} that of the endpoint`;
}

/** Ms, bounded (RFC 9110 section 10.2.3). */
export function retryAfterOf(text: string | readonly string[] | undefined): number | undefined {
  if (typeof text !== "string") return undefined;
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1_000;
  return seconds > 0 ? Math.min(seconds, LONGEST_RETRY_AFTER_SECONDS) * 1_000 : undefined;
}
