/**
 * What reads requests off a socket: node:http's parser, with the limits that a listener sets it.
 * Invariant: nothing is dropped or answered by it in silence; what it cannot read is told in the gateway's codes.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { GatewayError } from "../errors.ts";
import { ClientRequest } from "./client-request.ts";
import { HEADER_BYTES_LIMIT } from "./framing.ts";

/** How often heads that are under way are looked at, ms: so late may the end of one be, at most. */
const LONGEST_CHECK_MS = 1_000;

/** Connections that say nothing are probed by the operating system from this many ms on. */
const PROBE_AFTER_MS = 60_000;

/** A whole line. */
const ORIGIN = /(?<=\r\n)origin:[ \t]*([^\r\n \t]+)[ \t]*(?=\r\n)/gi;

export interface ParserTimes {
  /** KEEP_ALIVE_TIMEOUT. */
  readonly keepAliveTimeoutMs: number;
  /** HEADERS_TIMEOUT: from the connection, or the first byte of a later request, to the end of its head. */
  readonly headersTimeoutMs: number;
}

export function createParser(
  { keepAliveTimeoutMs, headersTimeoutMs }: ParserTimes,
  serve: (req: IncomingMessage, res: ServerResponse) => void,
): Server {
  const server = createServer(
    {
      IncomingMessage: ClientRequest,
      keepAliveTimeout: keepAliveTimeoutMs,
      maxHeaderSize: HEADER_BYTES_LIMIT,
      headersTimeout: headersTimeoutMs,
      connectionsCheckingInterval: Math.min(Math.ceil(headersTimeoutMs / 4), LONGEST_CHECK_MS),
      // Uploads have no total limit; silence inside one is the exchange's own deadline.
      requestTimeout: 0,
      // Checked in findMalformed, as is the number of lines, so that the answer has the gateway's form.
      requireHostHeader: false,
      noDelay: true,
      // A client of a silent stream may have gone without a word.
      keepAlive: true,
      keepAliveInitialDelay: PROBE_AFTER_MS,
    },
    serve,
  );
  // 0: never drop header lines silently.
  server.maxHeadersCount = 0;
  server.on("checkContinue", serve);
  return server;
}

/** What node:http says of a message that its parser gave up, with the bytes that it had just been given. */
export type ParserError = NodeJS.ErrnoException & { readonly rawPacket?: Buffer };

/**
 * The page that a head of too many bytes came from, as far as these show it: a browser hides the refusal from a page that is
 * not named in it. All else that cannot be read is never sent by a browser.
 */
export function originOfOverflow({ code, rawPacket }: ParserError): string | undefined {
  if (code !== "HPE_HEADER_OVERFLOW" || rawPacket === undefined) return undefined;
  const text = rawPacket.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  const origins = [...text.slice(0, end === -1 ? undefined : end + 2).matchAll(ORIGIN)];
  return origins.length === 1 ? origins[0]?.[1] : undefined;
}

/** @param code of the error that node:http raised. */
export function parserRefusal(code: string | undefined): GatewayError {
  if (code === "HPE_HEADER_OVERFLOW") return new GatewayError("HEADERS_TOO_LARGE");
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return new GatewayError("REQUEST_TIMEOUT");
  if (code === "HPE_INVALID_URL") return new GatewayError("INVALID_PATH");
  return new GatewayError("INVALID_REQUEST");
}
